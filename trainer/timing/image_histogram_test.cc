#include "hetero/trainer/timing/image_histogram.h"

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

InputContract Contract() { return {.patch_size = 4, .max_image_side = 64, .patches_per_token = 4}; }

SampleLimits Limits() {
  return {.modalities = {
              {.feature_width = 48, .sizes = {{32, 32}}, .max_features = 64, .max_tokens = 16}}};
}

TEST(ImageHistogramTest, HasALineForEachSize) {
  EXPECT_THAT(ParseImageHistogram("# facts\n16 32 3\n\n 0  0\t1\n", "images"),
              IsOkAndHolds(ElementsAre(ImageCount{{16, 32}, 3}, ImageCount{{0, 0}, 1})));
  for (const char* text : {"16 32", "16 32 0", "16 -1 2", "a 1 1", "1 2 3 4"}) {
    EXPECT_THAT(ParseImageHistogram(text, "images"), StatusIs(kInvalid, HasSubstr("images:1:")))
        << text;
  }
  EXPECT_THAT(ParseImageHistogram("# nothing", "images"), StatusIs(kInvalid));
}

TEST(ImageHistogramTest, SharesAddUpAndHaveTheirImages) {
  const auto shares = SharesOf({{{16, 32}, 3}, {{0, 0}, 1}}, Contract(), Limits()).value();
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_DOUBLE_EQ(shares[0].share, 0.75);
  EXPECT_DOUBLE_EQ(shares[1].share, 0.25);
  EXPECT_EQ(shares[0].limits.modalities[0].max_features, 32);
  EXPECT_EQ(shares[0].limits.modalities[0].max_tokens, 8);
  EXPECT_EQ(shares[1].limits.modalities[0].max_tokens, 0);
  EXPECT_THAT(shares[1].limits.modalities[0].sizes, ::testing::IsEmpty());
}

TEST(ImageHistogramTest, RefusesWhatTheRunCannotTake) {
  EXPECT_THAT(SharesOf({{{12, 32}, 1}}, Contract(), Limits()),
              StatusIs(kInvalid, HasSubstr("multiples of 8")));
  EXPECT_THAT(SharesOf({{{64, 64}, 1}}, Contract(), Limits()),
              StatusIs(kInvalid, HasSubstr("at most 16")));
  EXPECT_THAT(SharesOf({{{8, 8}, 1}}, {}, Limits()), StatusIs(kInvalid));
}

}  // namespace
}  // namespace hetero
