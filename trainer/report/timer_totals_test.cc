#include "hetero/trainer/report/timer_totals.h"

#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

ProgramTimes Times(absl::Duration encoder_forward, absl::Duration forward, absl::Duration update) {
  ProgramTimes times(2);
  times[0][static_cast<int>(ProgramPart::kForward)] = encoder_forward;
  times[1][static_cast<int>(ProgramPart::kForward)] = forward;
  times[1][static_cast<int>(ProgramPart::kUpdate)] = update;
  return times;
}

TEST(TimerTotalsTest, SecondsOfAStepUnderTheirNames) {
  TimerTotals totals({"radio_encoder", "language"});
  totals.Add(Times(absl::Seconds(1), absl::Seconds(2), absl::Seconds(4)));
  totals.Add(Times(absl::Seconds(2), absl::Seconds(4), absl::Seconds(8)));
  const std::vector<double> values = totals.Take();
  const auto named = totals.Named(values);
  const std::vector<NamedValue> expected = {{"forward-backward-time", 4.5},
                                            {"batch-generator-time", 0},
                                            {"forward-compute-time", 4.5},
                                            {"backward-compute-time", 0},
                                            {"forward-recv-time", 0},
                                            {"forward-send-time", 0},
                                            {"backward-recv-time", 0},
                                            {"backward-send-time", 0},
                                            {"all-grads-sync-time", 0},
                                            {"optimizer-time", 6},
                                            {"params-all-gather-time", 0},
                                            {"forward-compute-time radio_encoder", 1.5},
                                            {"forward-compute-time language", 3},
                                            {"optimizer-time language", 6}};
  EXPECT_EQ(named, expected);
}

TEST(TimerTotalsTest, ARankWithoutStepsHasAsManyValues) {
  TimerTotals totals({"language"});
  totals.Add(ProgramTimes(1));
  const size_t size = totals.Take().size();
  EXPECT_THAT(totals.Take(), SizeIs(size));
  EXPECT_THAT(totals.Take(), Each(0));
  EXPECT_THAT(totals.Named(totals.Take()), SizeIs(1 + kNumProgramParts));
}

}  // namespace
}  // namespace hetero
