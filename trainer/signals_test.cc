#include "hetero/trainer/signals.h"

#include <signal.h>

#include <thread>

#include "gtest/gtest.h"

namespace hetero {
namespace {

int calls_of_own_handler = 0;
void OwnHandler(int) { ++calls_of_own_handler; }

TEST(StopSignalsTest, RecordsTheFirstAndRestoresTheEarlierAction) {
  ASSERT_NE(signal(SIGTERM, &OwnHandler), SIG_ERR);
  {
    StopSignals stop;
    EXPECT_EQ(stop.requested(), 0);
    raise(SIGTERM);
    raise(SIGINT);
    EXPECT_EQ(stop.requested(), SIGTERM);
    EXPECT_EQ(calls_of_own_handler, 0);
  }
  raise(SIGTERM);
  EXPECT_EQ(calls_of_own_handler, 1);
  StopSignals again;
  EXPECT_EQ(again.requested(), 0);
}

TEST(StopSignalsTest, IgnoredSignalsStayIgnored) {
  ASSERT_NE(signal(SIGINT, SIG_IGN), SIG_ERR);
  StopSignals stop;
  raise(SIGINT);
  EXPECT_EQ(stop.requested(), 0);
}

// What timeout(1) does: it signals the program, then the program's group.
TEST(StopSignalsTest, ARepeatWithinASecondIsTheSameSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ASSERT_NE(::signal(signal, SIG_DFL), SIG_ERR);
    StopSignals stop;
    for (int i = 0; i < 3; ++i) raise(signal);
    EXPECT_EQ(stop.requested(), signal);
  }
}

TEST(StopSignalsDeathTest, ALaterOneEndsTheProcess) {
  EXPECT_EXIT(
      {
        StopSignals stop;
        raise(SIGTERM);
        raise(SIGTERM);
        std::this_thread::sleep_for(StopSignals::kSameSignal);
        raise(SIGINT);  // the first of its kind
        raise(SIGTERM);
      },
      ::testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace hetero
