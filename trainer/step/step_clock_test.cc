#include "hetero/trainer/step/step_clock.h"

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::SizeIs;

constexpr absl::Duration kNap = absl::Milliseconds(10);

class StepClockTest : public ::testing::Test {
 protected:
  void Begin(bool samples) {
    absl::StatusOr<StepClock> clock =
        StepClock::Create(stream_->device(), {.samples = samples, .max_spans = 10});
    ASSERT_THAT(clock, IsOk());
    clock_ = *std::move(clock);
    ASSERT_THAT(clock_->Start(*stream_), IsOk());
  }

  // One operation of a nap in a step.
  void Queue(int64_t step, int64_t num_steps = 1000) {
    ASSERT_THAT(clock_->BeginStep(step, num_steps, *stream_), IsOk());
    {
      const OperationScope scope(*stream_, {"nap", 1e6, 2e6});
      absl::SleepFor(kNap);
    }
    ASSERT_THAT(clock_->EndStep(*stream_), IsOk());
  }

  absl::Duration Elapsed() {
    const absl::StatusOr<absl::Duration> elapsed = clock_->Elapsed();
    EXPECT_THAT(elapsed, IsOk());
    return elapsed.value_or(absl::ZeroDuration());
  }

  StreamWithWorkspace stream_;
  std::optional<StepClock> clock_;
};

// As on a GPU: the host asks for a step when the next one is queued. Naps are at least as long as
// asked for, so that an elapsed time that takes in a neighbour's nap breaks the sum, and one that
// is asked for late does not grow.
TEST_F(StepClockTest, AStepThatIsAskedForLateIsNotLonger) {
  Begin(/*samples=*/false);
  const absl::Time start = absl::Now();
  Queue(0);
  const absl::Duration first = absl::Now() - start;
  Queue(1);
  absl::SleepFor(3 * kNap);
  EXPECT_GE(Elapsed(), kNap);
  Queue(2);
  EXPECT_GE(Elapsed(), kNap);
  EXPECT_GE(Elapsed(), 4 * kNap);  // the host let the device wait before it
  EXPECT_FALSE(clock_->samples().has_value());
  Queue(3);
  Queue(4);
  absl::Duration sum = Elapsed();
  sum += Elapsed();
  EXPECT_GE(sum, 2 * kNap);
  EXPECT_LE(sum + 6 * kNap, absl::Now() - start);
  EXPECT_GE(first, kNap);
}

TEST_F(StepClockTest, WhatRunsBeforeAStartBelongsToNoStep) {
  Begin(/*samples=*/false);
  const absl::Time start = absl::Now();
  Queue(0);
  absl::Duration sum = Elapsed();
  absl::SleepFor(5 * kNap);  // an evaluation
  ASSERT_THAT(clock_->Start(*stream_), IsOk());
  Queue(1);
  sum += Elapsed();
  EXPECT_GE(sum, 2 * kNap);
  EXPECT_LE(sum + 5 * kNap, absl::Now() - start);
}

TEST_F(StepClockTest, OperationsOfSampledStepsAreTimed) {
  Begin(/*samples=*/true);
  const absl::Time start = absl::Now();
  Queue(0);
  Queue(1);
  Elapsed();
  Queue(2);
  absl::Duration sampled = Elapsed();
  EXPECT_TRUE(clock_->samples()->calls.operations().empty());
  Queue(3);
  sampled += Elapsed();
  Elapsed();
  const std::optional<StepClock::Samples> samples = clock_->samples();
  ASSERT_TRUE(samples.has_value());
  EXPECT_EQ(samples->num_steps, 2);
  EXPECT_EQ(samples->time, sampled);
  EXPECT_EQ(samples->num_untimed, 0);
  const OperationTotals nap = samples->calls.operations().at("nap");
  EXPECT_EQ(nap.calls, 2);
  EXPECT_EQ(nap.bytes, 4e6);
  EXPECT_GE(nap.time, 2 * kNap);
  EXPECT_LE(nap.time, samples->time);
  // In the trace they lie one behind the other, inside the time in which they ran.
  const std::vector<QueueSpans> queues = clock_->TakeSpans();
  ASSERT_THAT(queues, SizeIs(1));
  EXPECT_EQ(queues[0].name, "stream");
  const std::span<const SpanRecord> spans = queues[0].spans.records();
  ASSERT_THAT(spans, SizeIs(2));
  EXPECT_EQ(spans[0].name, "nap");
  EXPECT_GE(spans[0].start_ns, absl::ToUnixNanos(start));
  EXPECT_GE(spans[1].start_ns, spans[0].start_ns + spans[0].duration_ns);
  EXPECT_LE(spans[1].start_ns + spans[1].duration_ns, absl::GetCurrentTimeNanos());
}

TEST(StepClockSamplesTest, AreTwoStepsIn512AfterTheFirst) {
  for (int64_t step = 0; step < 2000; ++step) {
    EXPECT_EQ(StepClock::IsSampled(step, 2000), step % 512 == 1 || step % 512 == 2) << step;
  }
  EXPECT_TRUE(StepClock::IsSampled(1, 2));
  EXPECT_TRUE(StepClock::IsSampled(0, 1));
}

}  // namespace
}  // namespace hetero
