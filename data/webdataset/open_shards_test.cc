// Shards of a data set while it is read.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// The files are gone after the first pass: a shard that is opened again would not be there.
TEST(ShardsOfADatasetTest, AreOpenedOnce) {
  constexpr int kNumShards = 100;
  const fs::path root = FreshFolder("many_shards");
  std::vector<std::string> names;
  for (int shard = 0; shard < kNumShards; ++shard) {
    names.push_back(absl::StrCat(shard, ".tar"));
    TarWriter writer = TarWriter::Create(root / names.back()).value();
    for (int i = 0; i < 2; ++i) {
      ASSERT_THAT(writer.Add(absl::StrFormat("k%d_%d.txt", shard, i), "text"), IsOk());
    }
    ASSERT_THAT(writer.Close(), IsOk());
  }
  ASSERT_THAT(
      PrepareDataset(root, {.splits = {{"train", names}}, .fields = TextFields{.text = "txt"}}),
      IsOk());
  const std::shared_ptr<const Dataset> dataset = Dataset::Open(root, "train").value();
  RawSample sample;
  for (int64_t i = 0; i < dataset->size(); i += 2) ASSERT_THAT(dataset->Read(i, sample), IsOk());
  for (const std::string& name : names) fs::remove(root / name);
  for (int64_t i = 1; i < dataset->size(); i += 2) {
    ASSERT_THAT(dataset->Read(i, sample), IsOk()) << sample.shard;
  }
}

TEST(ShardsOfADatasetTest, AreNamedWhenTheyAreGone) {
  const fs::path root = FreshFolder("vanished");
  TarWriter writer = TarWriter::Create(root / "a.tar").value();
  ASSERT_THAT(writer.Add("k.txt", "text"), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  ASSERT_THAT(
      PrepareDataset(root, {.splits = {{"train", {"a.tar"}}}, .fields = TextFields{.text = "txt"}}),
      IsOk());
  const std::shared_ptr<const Dataset> dataset = Dataset::Open(root, "train").value();
  fs::remove(root / "a.tar");
  RawSample sample;
  EXPECT_THAT(dataset->Read(0, sample),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("shard a.tar is missing")));
}

}  // namespace
}  // namespace hetero::data
