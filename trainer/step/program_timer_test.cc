#include "hetero/trainer/step/program_timer.h"

#include "absl/status/status_matchers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr absl::Duration kNap = absl::Milliseconds(5);
constexpr int kOwnModule = 1;

class ProgramTimerTest : public ::testing::Test {
 protected:
  void Run(const Op& op, absl::Duration time) {
    ASSERT_THAT(timer_.Enter(op, *stream_), IsOk());
    absl::SleepFor(time);
  }

  absl::Duration Of(const ProgramTimes& times, int module, ProgramPart part) {
    return times[module][static_cast<int>(part)];
  }

  StreamWithWorkspace stream_;
  // Stages 0 and 2 are of the first module.
  ProgramTimer timer_{Device{}, {0, 1, 0}, /*num_modules=*/2, kOwnModule};
};

// Naps are at least as long as asked for, and what is counted twice breaks the sum.
TEST_F(ProgramTimerTest, PartsOfAStepAreThoseOfTheirStage) {
  timer_.Begin();
  const absl::Time start = absl::Now();
  Run({.kind = OpKind::kForward, .stage = 0}, kNap);
  Run({.kind = OpKind::kForward, .stage = 2}, kNap);
  Run({.kind = OpKind::kWaitReceive, .stage = 1, .channel = ForwardChannel(0)}, 2 * kNap);
  Run({.kind = OpKind::kPostSend, .stage = 1, .channel = BackwardChannel(0)}, kNap);
  Run({.kind = OpKind::kBackwardInput, .stage = 1}, kNap);
  Run({.kind = OpKind::kBackwardWeight, .stage = 1}, kNap);
  Run({.kind = OpKind::kUpdate}, kNap);
  ASSERT_THAT(timer_.End(*stream_), IsOk());
  const absl::Duration all = absl::Now() - start;
  const auto times = timer_.Take();
  ASSERT_THAT(times, IsOk());
  EXPECT_GE(Of(*times, 0, ProgramPart::kForward), 2 * kNap);
  EXPECT_GE(Of(*times, 1, ProgramPart::kForwardReceive), 2 * kNap);
  EXPECT_GE(Of(*times, 1, ProgramPart::kBackwardSend), kNap);
  EXPECT_GE(Of(*times, 1, ProgramPart::kBackward), 2 * kNap);
  EXPECT_GE(Of(*times, kOwnModule, ProgramPart::kUpdate), kNap);
  EXPECT_EQ(Of(*times, 1, ProgramPart::kForward), absl::ZeroDuration());
  absl::Duration sum;
  for (const auto& module : *times) {
    for (const absl::Duration part : module) sum += part;
  }
  EXPECT_LE(sum, all + absl::Microseconds(1));  // by two clocks
}

// As on a GPU: a step is asked for when the next one was queued.
TEST_F(ProgramTimerTest, AStepThatIsTakenLateIsItsOwn) {
  for (int step = 0; step < 4; ++step) {
    timer_.Begin();
    const OpKind kind = step % 2 == 0 ? OpKind::kForward : OpKind::kBackward;
    Run({.kind = kind, .stage = 0}, kNap);
    ASSERT_THAT(timer_.End(*stream_), IsOk());
    if (step == 0) continue;
    const auto before = timer_.Take();
    ASSERT_THAT(before, IsOk());
    EXPECT_EQ(Of(*before, 0, ProgramPart::kForward) >= kNap, step % 2 == 1);
    EXPECT_EQ(Of(*before, 0, ProgramPart::kBackward) >= kNap, step % 2 == 0);
  }
}

}  // namespace
}  // namespace hetero
