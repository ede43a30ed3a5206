#include "hetero/telemetry/flight_ring.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

TEST(FlightRingTest, KeepsTheLastCallsAndWhichAreInFlight) {
  FlightRing ring(3);
  std::vector<int64_t> sequences;
  for (int i = 0; i < 5; ++i) {
    sequences.push_back(
        ring.Begin(absl::StrCat("call", i), "send", "edge 0", {}, kStart + absl::Seconds(i)));
  }
  ring.End(sequences[3], kStart + absl::Seconds(10));
  ring.End(sequences[0], kStart + absl::Seconds(10));  // no longer kept

  EXPECT_THAT(
      ring.Snapshot(),
      ::testing::ElementsAre(
          FlightEntry{2, "call2", "send", "edge 0", 0, {}, kStart + absl::Seconds(2), std::nullopt},
          FlightEntry{3,
                      "call3",
                      "send",
                      "edge 0",
                      0,
                      {},
                      kStart + absl::Seconds(3),
                      kStart + absl::Seconds(10)},
          FlightEntry{
              4, "call4", "send", "edge 0", 0, {}, kStart + absl::Seconds(4), std::nullopt}));
}

TEST(FlightRingTest, KeepsWhomACallNeeds) {
  FlightRing ring(1);
  const std::vector<int64_t> peers = {2, 4};
  ring.Begin("x", "all_reduce", "threads[0,2] model", {.number = 7}, kStart);
  ring.Begin("y", "exchange", "threads[0,2] bridge", {.peers = peers}, kStart);
  EXPECT_THAT(ring.Snapshot(),
              ::testing::ElementsAre(FlightEntry{
                  1, "y", "exchange", "threads[0,2] bridge", 0, {2, 4}, kStart, std::nullopt}));
}

TEST(FlightRingTest, TextShowsWhatIsStuck) {
  FlightRing ring(2);
  EXPECT_EQ(ring.ToText("rank 3", kStart), "rank 3: 0 calls, 0 in flight\n");
  ring.Begin("llm.tp.gather", "all_gather", "tp", {}, kStart);
  ring.End(
      ring.Begin("llm.dp.grad.bucket3", "all_reduce", "dp", {}, kStart + absl::Milliseconds(2)),
      kStart + absl::Milliseconds(3));
  ring.Begin("bridge.0", "exchange", "edge 0", {}, kStart + absl::Milliseconds(4));
  EXPECT_EQ(ring.ToText("rank 3", kStart + absl::Seconds(30)),
            "rank 3: 3 calls, 2 in flight (1 older than the calls kept); the last 2:\n"
            "  #1           29998.000 ms ago       1.000 ms  all_reduce llm.dp.grad.bucket3 on dp\n"
            "  #2           29996.000 ms ago      IN FLIGHT  exchange bridge.0 on edge 0\n");
}

TEST(FlightRingTest, ReadersSeeWholeEntriesWhileARankRecords) {
  FlightRing ring(8);
  std::atomic<bool> done = false;
  std::thread rank([&] {
    for (int i = 0; i < 20000; ++i) {
      const std::string name(1 + i % 40, static_cast<char>('a' + i % 26));
      FlightCall(&ring, name, name, name).End();
    }
    done = true;
  });
  while (!done) {
    int64_t expected = -1;
    for (const FlightEntry& entry : ring.Snapshot()) {
      EXPECT_TRUE(expected < 0 || entry.sequence == expected);
      EXPECT_EQ(entry.name, entry.kind);
      EXPECT_EQ(entry.name,
                std::string(1 + entry.sequence % 40, static_cast<char>('a' + entry.sequence % 26)));
      expected = entry.sequence + 1;
    }
  }
  rank.join();
  for (const FlightEntry& entry : ring.Snapshot()) EXPECT_TRUE(entry.end.has_value());
}

}  // namespace
}  // namespace hetero
