#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

class RankReduceTest : public testing::Test {
 protected:
  Arena workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream_{Device{}, workspace_};
};

TEST_F(RankReduceTest, SumsInInputOrderBitwiseIntoEveryOutput) {
  constexpr int64_t kCount = 5003;  // more than two blocks and a tail
  std::mt19937_64 random = FreshGenerator();
  std::normal_distribution<float> normal(0.0f, 1e3f);
  std::vector<std::vector<float>> values(3, std::vector<float>(kCount));
  for (auto& rank : values) {
    for (float& value : rank) value = normal(random);
  }
  std::vector<float> expected(kCount);
  for (int64_t i = 0; i < kCount; ++i) expected[i] = (values[0][i] + values[1][i]) + values[2][i];

  std::vector<float> apart(kCount, std::nanf(""));
  std::vector<ConstTensorView> inputs;
  for (auto& rank : values)
    inputs.emplace_back(std::span<float>(rank), std::initializer_list<int64_t>{kCount});
  const TensorView outputs[] = {{std::span<float>(apart), {kCount}},
                                {std::span<float>(values[1]), {kCount}}};
  ASSERT_THAT(RankReduce(inputs, outputs, ReduceOp::kSum, stream_), IsOk());
  EXPECT_EQ(apart, expected);
  EXPECT_EQ(values[1], expected);
}

TEST_F(RankReduceTest, MaximumAndMinimumKeepNaNWhereverItIs) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> a = {1, nan, 3};
  std::vector<double> b = {2, 1, nan};
  std::vector<double> out(3);
  const ConstTensorView inputs[] = {{std::span<double>(a), {3}}, {std::span<double>(b), {3}}};
  const TensorView outputs[] = {{std::span<double>(out), {3}}};
  for (const ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin}) {
    ASSERT_THAT(RankReduce(inputs, outputs, op, stream_), IsOk());
    EXPECT_EQ(out[0], op == ReduceOp::kMax ? 2 : 1);
    EXPECT_TRUE(std::isnan(out[1]));
    EXPECT_TRUE(std::isnan(out[2]));
  }
}

TEST_F(RankReduceTest, RefusesUnequalShapesAndTypesItCannotAdd) {
  std::vector<int64_t> a(4), b(3);
  const ConstTensorView unequal[] = {{std::span<int64_t>(a), {4}}, {std::span<int64_t>(b), {3}}};
  EXPECT_THAT(RankReduce(unequal, {}, ReduceOp::kSum, stream_),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("i64[3]")));
  std::vector<BFloat16> c(2);
  const ConstTensorView half[] = {{std::span<BFloat16>(c), {2}}};
  EXPECT_THAT(RankReduce(half, {}, ReduceOp::kSum, stream_),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("bf16")));
}

}  // namespace
}  // namespace hetero
