#include "hetero/tensor/ops/check_indices/check_indices.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

absl::Status Check(std::vector<int32_t> values, const ConstTensorView& weight = {}) {
  const HostTensor<int32_t> indices({std::ssize(values)}, values);
  StreamWithWorkspace stream;
  return CheckIndices(
      {.what = "token id", .indices_N = indices.view(), .limit = 512, .weight_N = weight}, *stream);
}

TEST(CheckIndicesTest, NamesTheFirstOutside) {
  EXPECT_THAT(Check({0, 511}), IsOk());
  EXPECT_THAT(Check({}), IsOk());
  EXPECT_THAT(Check({4, 600, -1}), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("token id 600 at 1; expected 0 to 511")));
  EXPECT_THAT(Check({-100}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-100 at 0")));
}

TEST(CheckIndicesTest, WeightZeroMayBeAnything) {
  const HostTensor<double> weight({3}, {0, 1, 0.5});
  EXPECT_THAT(Check({-100, 1, 511}, weight.view()), IsOk());
  EXPECT_THAT(Check({-100, 1, 512}, weight.view()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("512 at 2")));
}

TEST(CheckIndicesTest, OperandsMustFit) {
  const HostTensor<double> weight({2});
  EXPECT_THAT(Check({0}, weight.view()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("weight is f64[2]")));
}

}  // namespace
}  // namespace hetero
