#include "hetero/comm/awake_clock.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

TEST(AwakeClockTest, TimeBetweenFrequentLooksIsThatOfTheSystem) {
  absl::Duration system = absl::Hours(7);
  AwakeClock clock(absl::Seconds(60), [&] { return system; });
  for (int i = 0; i < 100; ++i) {
    system += clock.tick();
    clock.Now();
  }
  EXPECT_EQ(clock.Now(), 100 * clock.tick());
}

TEST(AwakeClockTest, APauseOfTheProcessIsWorthAQuarterOfTheDeadlineAtMost) {
  for (const absl::Duration timeout : {absl::Milliseconds(200), absl::Seconds(2)}) {
    absl::Duration system;
    AwakeClock clock(timeout, [&] { return system; });
    const absl::Duration before = clock.Now();
    system += absl::Hours(10);
    EXPECT_LE(clock.Now() - before, timeout / 4);
  }
}

}  // namespace
}  // namespace hetero
