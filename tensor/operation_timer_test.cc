#include "hetero/tensor/operation_timer.h"

#include <chrono>
#include <string_view>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr absl::Duration kNap = absl::Milliseconds(5);

absl::Duration Clock() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

// Processor time, which sleep does not use.
void Work(absl::Duration time) {
  for (const absl::Duration start = ThreadTime(); ThreadTime() - start < time;) {
  }
}

TEST(OperationScopeTest, TheTimeOfAnInnerOperationIsCountedOnce) {
  StreamWithWorkspace stream;
  const absl::Duration start = ThreadTime();
  {
    const OperationScope outer(*stream, {"outer", 10, 0});
    Work(kNap);
    for (int i = 0; i < 2; ++i) {
      const OperationScope inner(*stream, {"inner", 1, 0});
      Work(2 * kNap);
    }
  }
  const absl::Duration all = ThreadTime() - start;
  const OperationTotals outer = stream->ledger().operations().at("outer");
  const OperationTotals inner = stream->ledger().operations().at("inner");
  EXPECT_GE(outer.time, kNap);
  EXPECT_GE(inner.time, 4 * kNap);
  EXPECT_LE(outer.time + inner.time, all);
}

// Off the GPU an event stands for the moment of its recording, so sleep counts.
TEST(OperationTimerTest, TimesWhatRunsWhileItIsOn) {
  StreamWithWorkspace stream;
  absl::StatusOr<OperationTimer> timer = OperationTimer::Create(stream->device());
  ASSERT_THAT(timer, IsOk());
  const auto operation = [&](std::string_view name) {
    const OperationScope scope(*stream, {name, 2e6, 3e5});
    absl::SleepFor(kNap);
  };
  operation("before");
  stream->TimeOperations(&*timer);
  const absl::Duration start = Clock();
  operation("a");
  operation("b");
  {
    const OperationScope scope(*stream, {"outer", 1, 1});
    operation("a");
  }
  const absl::Duration all = Clock() - start;
  stream->TimeOperations(nullptr);
  operation("after");
  ASSERT_THAT(timer->Collect(), IsOk());
  EXPECT_EQ(timer->num_untimed(), 0);
  EXPECT_THAT(timer->calls().operations(),
              UnorderedElementsAre(Pair("a", ::testing::_), Pair("b", ::testing::_),
                                   Pair("outer", ::testing::_)));
  const OperationTotals a = timer->calls().operations().at("a");
  const OperationTotals b = timer->calls().operations().at("b");
  const OperationTotals outer = timer->calls().operations().at("outer");
  EXPECT_EQ(a.calls, 2);
  EXPECT_EQ(a.flops, 4e6);
  EXPECT_EQ(b.bytes, 3e5);
  EXPECT_GE(a.time, 2 * kNap);
  EXPECT_GE(b.time, kNap);
  EXPECT_GE(outer.time, absl::ZeroDuration());
  EXPECT_LE(a.time + b.time + outer.time, all);
}

TEST(OperationTimerTest, ReadsWhatHasRunWhenItsEventsRunOut) {
  StreamWithWorkspace stream;
  absl::StatusOr<OperationTimer> timer = OperationTimer::Create(stream->device(), /*capacity=*/3);
  ASSERT_THAT(timer, IsOk());
  stream->TimeOperations(&*timer);
  for (int i = 0; i < 20; ++i) {
    const OperationScope scope(*stream, {"many", 1, 0});
  }
  EXPECT_EQ(timer->num_untimed(), 0);
  // Five deep, and the outer ones have not ended: the innermost two have no events left.
  const absl::Duration start = Clock();
  {
    const OperationScope one(*stream, {"one", 1, 0});
    const OperationScope two(*stream, {"two", 1, 0});
    const OperationScope three(*stream, {"three", 1, 0});
    const OperationScope four(*stream, {"four", 1, 0});
    const OperationScope five(*stream, {"five", 1, 0});
    absl::SleepFor(kNap);
  }
  const absl::Duration all = Clock() - start;
  stream->TimeOperations(nullptr);
  ASSERT_THAT(timer->Collect(), IsOk());
  EXPECT_EQ(timer->num_untimed(), 2);
  const auto& operations = timer->calls().operations();
  EXPECT_EQ(operations.at("many").calls, 20);
  EXPECT_FALSE(operations.contains("four"));
  EXPECT_GE(operations.at("three").time, kNap);
  EXPECT_LE(operations.at("one").time + operations.at("two").time + operations.at("three").time,
            all);
}

}  // namespace
}  // namespace hetero
