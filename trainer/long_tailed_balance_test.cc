// How even the work of an encoder is over a step whose images are of 1,024 to 13,312 patches, by
// the operations that the model counts.

#include <algorithm>
#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "hetero/data/balance/share_out.h"
#include "hetero/trainer/testing/long_tailed_shares.h"

namespace hetero {
namespace {

TEST(LongTailedBalanceTest, NoLaneIsFarAboveTheMean) {
  constexpr int64_t kSteps = 20;
  for (const LongTailedSteps& steps :
       {LongTailedSteps{.encoder_lanes = 8, .image_percent = 100}, LongTailedSteps{},
        LongTailedSteps{.encoder_lanes = 64, .global_batch_size = 1536}}) {
    const LongTailedShares long_tailed = SharesOf(steps);
    double most = 0;
    double by_lane = 0;
    for (int64_t step = 0; step < kSteps; ++step) {
      const auto shares = long_tailed.shares->Of(step).value();
      most = std::max(most, data::MaxOverMean(shares->work));
      by_lane += data::MaxOverMean(shares->work_by_lane) / kSteps;
    }
    RecordProperty("most", std::to_string(most));
    EXPECT_LE(most, 1.03);
    if (steps.image_percent < 100) {
      EXPECT_GE(by_lane, 2);
    }
  }
}

}  // namespace
}  // namespace hetero
