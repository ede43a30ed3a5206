#include "hetero/tensor/copy.h"

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CopyTest, MovesRowsBetweenPitches) {
  HostTensor<int32_t> wide({2, 3}, {1, 2, 3, 4, 5, 6}), narrow({2, 2}), back({2, 3});
  StreamWithWorkspace stream;
  ASSERT_THAT(CopyToDevice(wide.view().Columns(1, 2), narrow.view(), *stream), IsOk());
  EXPECT_THAT(narrow.values(), ElementsAre(2, 3, 5, 6));
  ASSERT_THAT(CopyToHost(narrow.view(), back.view().Columns(0, 2), *stream), IsOk());
  EXPECT_THAT(back.values(), ElementsAre(2, 3, 0, 5, 6, 0));
}

TEST(CopyTest, RefusesWhatItWouldHaveToConvert) {
  HostTensor<float> x({2, 3});
  HostTensor<double> y({2, 3});
  HostTensor<float> z({3, 2});
  StreamWithWorkspace stream;
  EXPECT_THAT(CopyToDevice(x.view(), y.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("destination is f64[2,3]")));
  EXPECT_THAT(CopyToHost(x.view(), z.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the dims of f32[2,3]")));
}

}  // namespace
}  // namespace hetero
