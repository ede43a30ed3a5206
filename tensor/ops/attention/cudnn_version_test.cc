#include "hetero/tensor/ops/attention/cudnn_version.h"

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::internal {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

TEST(CudnnVersionTest, TakesTheOneThatTheProgramWasBuiltWithAndLaterOnes) {
  EXPECT_THAT(ExpectCudnnVersion(91900, 91900), IsOk());
  EXPECT_THAT(ExpectCudnnVersion(91901, 91900), IsOk());
  EXPECT_THAT(ExpectCudnnVersion(92100, 91900), IsOk());
}

TEST(CudnnVersionTest, RefusesOlderOnesAndOtherMajorVersions) {
  EXPECT_THAT(ExpectCudnnVersion(91400, 91901),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "cuDNN 9.14.0 is loaded; expected 9.19.1 or a later 9, which this program "
                       "was built with: put its folder first in LD_LIBRARY_PATH"));
  EXPECT_FALSE(ExpectCudnnVersion(100000, 91900).ok());
}

}  // namespace
}  // namespace hetero::internal
