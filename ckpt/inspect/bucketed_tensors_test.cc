// State in buckets: as Megatron wrote it (testdata/generate.py), and of ranks that hold parts.

#include "hetero/ckpt/inspect/bucketed_tensors.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/bucket_order.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/params/box_map.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kBuckets =
    "optimizer.distributed.dp_group_idx_0.gbuf_idx_0.dtype_(torch.float32, torch.float32)";

std::vector<BucketGroup> OrderOf(std::string_view parameters) {
  return ParseBucketOrder(absl::StrCat(R"({"groups": [{"buckets": ")", kBuckets,
                                       R"(", "prefix": "state.", "parameters": )", parameters,
                                       "}]}"))
      .value();
}

std::unique_ptr<StoredTensors> OpenMegatrons(std::string_view name) {
  static PosixStorage storage;
  return StoredTensors::Open(storage, absl::StrCat("ckpt/inspect/testdata/dp_reshardable/", name))
      .value();
}

std::vector<float> ReadFloats(const StoredTensors& tensors, std::string_view key, const Box& box) {
  int64_t count = 1;
  for (const int64_t size : box.size) count *= size;
  std::vector<float> values(count, -1000);
  EXPECT_THAT(tensors.Read(key, box, std::as_writable_bytes(std::span(values))), IsOk());
  return values;
}

class MegatronTest : public ::testing::TestWithParam<std::string_view> {};

// With one bucket a is whole in the second rank's share, with two its first 64 elements are in the
// first rank's.
TEST_P(MegatronTest, ParametersComeOutOfTheirBuckets) {
  const auto tensors =
      OutOfBuckets(OpenMegatrons(GetParam()), OrderOf(R"([[{"key": "a", "shape": [10, 10]}],
          [{"key": "b", "shape": [30]}], [{"key": "c", "shape": [8, 8]}]])"));
  ASSERT_THAT(tensors, IsOk());
  std::vector<std::string> keys;
  for (const auto& [key, head] : (*tensors)->heads()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("state.exp_avg.a", "state.exp_avg.b", "state.exp_avg.c",
                                "state.exp_avg_sq.a", "state.exp_avg_sq.b", "state.exp_avg_sq.c",
                                "state.param.a", "state.param.b", "state.param.c"));
  for (const auto& [name, whole] : std::vector<std::pair<std::string, Box>>{
           {"a", {{0, 0}, {10, 10}}}, {"b", {{0}, {30}}}, {"c", {{0, 0}, {8, 8}}}}) {
    const auto values = [&](std::string_view kind) {
      return ReadFloats(**tensors, absl::StrCat("state.", kind, ".", name), whole);
    };
    const std::vector<float> master = values("param"), first = values("exp_avg"),
                             second = values("exp_avg_sq");
    for (size_t i = 0; i < master.size(); ++i) {
      const auto expected = static_cast<float>(PatternValue(name, static_cast<int64_t>(i)));
      ASSERT_EQ(master[i], expected) << name << " " << i;
      ASSERT_EQ(first[i], 2 * expected) << name << " " << i;
      ASSERT_EQ(second[i], expected * expected) << name << " " << i;
    }
  }
  EXPECT_EQ(ReadFloats(**tensors, "state.param.a", {{6, 0}, {2, 10}})[7],
            static_cast<float>(PatternValue("a", 67)));
}

INSTANTIATE_TEST_SUITE_P(Buckets, MegatronTest, ::testing::Values("one", "two"));

// As of other tensor, pipeline or expert parallelism, or of another order.
TEST(BucketedTensorsTest, WhatDoesNotFitIsRefusedWithTheSizes) {
  const auto refusal = [](std::string_view name, std::string_view parameters) {
    return OutOfBuckets(OpenMegatrons(name), OrderOf(parameters)).status();
  };
  EXPECT_THAT(refusal("one", R"([[{"key": "a", "shape": [10, 10], "offset": [0, 0],
                  "size": [5, 10]}], [{"key": "b", "shape": [30]}], [{"key": "c", "shape": [8, 8]}]])"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("bucket_idx_0.exp_avg has 228 elements, of which 178 are"),
                             HasSubstr("other sizes of tensor, pipeline or expert parallelism"))));
  EXPECT_THAT(refusal("one", R"([[{"key": "a", "shape": [20, 10]}], [{"key": "b", "shape": [30]}],
                  [{"key": "c", "shape": [8, 8]}]])"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has 228 elements; a, parameter 1, would end at 328")));
  EXPECT_THAT(refusal("two", R"([[{"key": "z", "shape": [1]}], [{"key": "a", "shape": [10, 10]}],
                  [{"key": "b", "shape": [30]}], [{"key": "c", "shape": [8, 8]}]])"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("bucket_idx_2.exp_avg is not stored; z, parameter 1")));
  EXPECT_THAT(
      refusal("two", R"([[{"key": "b", "shape": [30]}], [{"key": "c", "shape": [8, 8]}]])"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("bucket_idx_1.exp_avg has 100")));
  std::vector<BucketGroup> other = OrderOf("[]");
  other[0].buckets = "chained_1.optimizer";
  EXPECT_THAT(OutOfBuckets(OpenMegatrons("one"), other).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("chained_1.optimizer.bucket_idx_0")));
}

// Two tensor-parallel ranks: columns of w, rows of the parts of a fused parameter, and a norm that
// both hold.
TEST(BucketedTensorsTest, PartsOfTensorParallelRanksMakeTheWhole) {
  MemoryStorage storage;
  const WholeTensor first("g0.bucket_idx_0.exp_avg", DType::kF32, {131}),
      second("g1.bucket_idx_0.exp_avg", DType::kF32, {131}), w2("w", DType::kBF16, {5});
  const CheckpointState state{.tensors = {first.tensor(), second.tensor(), w2.tensor()}};
  std::vector<BucketGroup> groups;
  for (int64_t rank = 0; rank < 2; ++rank) {
    const std::span<float> values = state.tensors[rank].pieces[0].local.values<float>();
    for (int64_t i = 0; i < 4; ++i) values[i] = static_cast<float>(100 + 4 * rank + i);
    for (int64_t i = 0; i < 4; ++i) values[4 + i] = static_cast<float>(200 + 4 * rank + i);
    for (int64_t i = 0; i < 16; ++i) {
      values[64 + i] = static_cast<float>(8 * (i / 4) + 4 * rank + i % 4);
    }
    for (int64_t i = 0; i < 3; ++i) values[128 + i] = static_cast<float>(300 + i);
    const Box row = {{rank, 0}, {1, 4}};
    groups.push_back(
        {.buckets = absl::StrCat("g", rank),
         .prefix = "state.",
         .parameters = {{{.key = "norm", .shape = {3}, .box = {{0}, {3}}}},
                        {{.key = "w", .shape = {4, 8}, .box = {{0, 4 * rank}, {4, 4}}}},
                        {{.key = "in.z", .shape = {2, 4}, .box = row},
                         {.key = "in.x", .shape = {2, 4}, .box = row}}}});
  }
  ASSERT_THAT(SaveAlone(storage, "/c", state), IsOk());
  const auto open = [&] { return StoredTensors::Open(storage, "/c").value(); };
  const auto tensors = OutOfBuckets(open(), groups);
  ASSERT_THAT(tensors, IsOk());
  EXPECT_EQ((*tensors)->heads().size(), 5u) << "w of the model is as it was";
  const auto expect = [&](std::string_view key, const Box& box, float begin) {
    const std::vector<float> values = ReadFloats(**tensors, key, box);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(values[i], begin + static_cast<float>(i)) << key << " " << i;
    }
  };
  expect("state.exp_avg.w", {{0, 0}, {4, 8}}, 0);
  expect("state.exp_avg.w", {{1, 0}, {2, 8}}, 8);
  expect("state.exp_avg.w", {{2, 3}, {1, 4}}, 19);
  expect("state.exp_avg.in.z", {{0, 0}, {2, 4}}, 100);
  expect("state.exp_avg.in.x", {{0, 0}, {2, 4}}, 200);
  expect("state.exp_avg.norm", {{0}, {3}}, 300);
  groups.pop_back();
  EXPECT_THAT(OutOfBuckets(open(), groups).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not covered")));
}

TEST(BucketOrderTest, WhatIsNoOrderIsNamed) {
  const auto message = [](std::string_view parameters) {
    return ParseBucketOrder(
               absl::StrCat(R"({"groups": [{"buckets": "g", "prefix": "p", "parameters": )",
                            parameters, "}]}"))
        .status();
  };
  const auto is = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(ParseBucketOrder("{}").status(), is(R"(has no array "groups")"));
  EXPECT_THAT(ParseBucketOrder("{").status(), is(""));
  EXPECT_THAT(ParseBucketOrder(R"({"groups": [1]})").status(), is(R"(has no string "buckets")"));
  EXPECT_THAT(message("[1]"), is("group 1: parameter 1 is no list of parts"));
  EXPECT_THAT(message(R"([[{"key": "a"}]])"), is(R"(parameter 1: has no array "shape")"));
  EXPECT_THAT(message(R"([[{"key": "a", "shape": [-1]}]])"), is("shape"));
  EXPECT_THAT(message(R"([[{"key": "a", "shape": [4611686018427387904, 4]}]])"), is("a"));
  EXPECT_THAT(message(R"([[{"key": "a", "shape": [4], "offset": [2], "size": [3]}]])"),
              is("a: [2]+[3] is not inside of [4]"));
  EXPECT_THAT(message(R"([[{"key": "a", "shape": [4], "offset": [2]}]])"),
              is(R"(has no array "size")"));
}

}  // namespace
}  // namespace hetero
