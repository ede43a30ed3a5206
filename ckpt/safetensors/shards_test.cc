#include "hetero/ckpt/safetensors/shards.h"

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/safetensors/header.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A file with one tensor and this metadata; empty: none.
void WriteFile(MemoryStorage& storage, const std::string& path, std::vector<int64_t> shape,
               std::string_view info, ElementType type = ElementType::kF32) {
  std::map<std::string, std::string> metadata;
  if (!info.empty()) metadata["DCP_SHARDING_INFO"] = info;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  for (const std::filesystem::path& made : {folder.parent_path(), folder}) {
    storage.MakeDirectory(made).IgnoreError();  // it may be there
  }
  const SafetensorsHeader header =
      LayOutSafetensors({{.name = "w", .type = type, .shape = std::move(shape)}}, metadata).value();
  ASSERT_THAT(
      WriteText(storage, path,
                absl::StrCat(SafetensorsHead(header), std::string(header.buffer_bytes(), '\0'))),
      IsOk());
}

std::string At(std::string_view offsets) {
  return absl::StrCat(R"({"w":{"saved_offsets":)", offsets, "}}");
}

TEST(ShardsTest, FilesOfTheFolderItselfMakeTheTensor) {
  MemoryStorage storage;
  WriteFile(storage, "/c/b.safetensors", {2, 5}, At("[0,3]"));
  WriteFile(storage, "/c/a.safetensors", {2, 3}, At("[0,0]"));
  WriteFile(storage, "/c/deeper/a.safetensors", {2, 3}, At("[2,0]"));
  const auto tensors = ReadSafetensorsShards(storage, "/c");
  ASSERT_THAT(tensors, IsOk());
  ASSERT_EQ(tensors->size(), 1);
  const ShardedSafetensor& w = tensors->at("w");
  EXPECT_THAT(w.shape, ElementsAre(2, 8));
  ASSERT_EQ(w.shards.size(), 2);
  EXPECT_EQ(w.shards[1].file, "b.safetensors");
  EXPECT_THAT(w.shards[1].box.offset, ElementsAre(0, 3));
  EXPECT_THAT(w.shards[1].box.size, ElementsAre(2, 5));
  EXPECT_EQ(w.shards[1].bytes, 40);
}

TEST(ShardsTest, WithoutPlacesTheFolderIsOfAnotherKind) {
  MemoryStorage storage;
  WriteFile(storage, "/c/a.safetensors", {2, 3}, "");
  WriteFile(storage, "/c/b.safetensors", {2, 3}, "");
  EXPECT_THAT(ReadSafetensorsShards(storage, "/c"), IsOkAndHolds(IsEmpty()));
}

TEST(ShardsTest, WhatMakesNoTensorIsNamed) {
  struct Wrong {
    std::vector<int64_t> shape;
    std::string info;
    std::string message;
    ElementType type = ElementType::kF32;
  };
  for (const Wrong& wrong : std::initializer_list<Wrong>{
           {{2, 3}, At("[0,4]"), "not covered: nobody has"},
           {{2, 3}, At("[0,2]"), "overlap"},
           {{2, 3}, "", "overlap"},
           {{2, 3}, At("[3]"), "saved_offsets is [3], must be a place for a tensor of shape [2,3]"},
           {{2, 3}, At("[0,-3]"), "saved_offsets"},
           {{2, 3}, At("[0,9223372036854775807]"), "must be a place"},
           {{2, 3}, At("7"), "saved_offsets"},
           {{2, 3}, R"({"v":{"saved_offsets":[0,0]}})", "DCP_SHARDING_INFO has no saved_offsets"},
           {{2, 3}, R"({"w":[0,0]})", "DCP_SHARDING_INFO has no saved_offsets"},
           {{2, 3}, "[]", "DCP_SHARDING_INFO has no saved_offsets"},
           {{2, 3}, "{", "DCP_SHARDING_INFO"},
           {{2, 3},
            At("[0,3]"),
            "it is bf16 of 2 dims, in a.safetensors f32 of 2",
            ElementType::kBF16},
           {{2}, At("[0]"), "it is f32 of 1 dims"}}) {
    MemoryStorage storage;
    WriteFile(storage, "/c/a.safetensors", {2, 3}, At("[0,0]"));
    WriteFile(storage, "/c/b.safetensors", wrong.shape, wrong.info, wrong.type);
    EXPECT_THAT(ReadSafetensorsShards(storage, "/c"),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(wrong.message)))
        << wrong.info;
  }
}

}  // namespace
}  // namespace hetero
