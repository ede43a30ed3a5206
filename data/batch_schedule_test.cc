#include "hetero/data/batch_schedule.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Entry = BatchSchedule::Entry;
using Phase = BatchSchedule::Phase;

BatchSchedule Make(const std::vector<Entry>& entries) {
  return BatchSchedule::Make(entries).value();
}

TEST(BatchScheduleTest, AStepHasTheSizeOfTheLastEntryThatTheSamplesBeforeItHaveReached) {
  std::mt19937_64 generator = FreshGenerator();
  const auto draw = [&](int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(generator);
  };
  for (int round = 0; round < 50; ++round) {
    std::vector<Entry> entries = {{0, draw(1, 8)}};
    const int64_t count = draw(0, 5);
    for (int64_t i = 0; i < count; ++i) {
      entries.push_back(
          {entries.back().from_sample + draw(1, 29), entries.back().batch_size + draw(0, 19)});
    }
    const BatchSchedule schedule = Make(entries);
    int64_t consumed = 0;
    for (int64_t step = 0; step < 60; ++step) {
      const auto reached = [&](const Entry& entry) { return entry.from_sample <= consumed; };
      const int64_t size = std::find_if(entries.rbegin(), entries.rend(), reached)->batch_size;
      ASSERT_EQ(schedule.SizeOf(step), size);
      ASSERT_EQ(schedule.FirstSample(step), consumed);
      ASSERT_EQ(schedule.NumSteps(consumed), step);
      ASSERT_EQ(schedule.NumSteps(consumed + 1), step + 1);
      for (int64_t i = 0; i < size; ++i) ASSERT_EQ(schedule.StepOf(consumed + i), step);
      consumed += size;
    }
  }
}

TEST(BatchScheduleTest, SizesThatNoStepComesToAreNoPhase) {
  EXPECT_THAT(BatchSchedule(8).phases(), ElementsAre(Phase{0, 0, 8}));
  EXPECT_THAT(Make({{0, 8}, {1, 8}, {2, 9}, {3, 10}, {16, 10}}).phases(),
              ElementsAre(Phase{0, 0, 8}, Phase{1, 8, 10}));
  EXPECT_THAT(Make({{0, 8}, {9, 16}}).phases(), ElementsAre(Phase{0, 0, 8}, Phase{2, 16, 16}));
}

TEST(BatchScheduleTest, WhatDoesNotGrowIsRefused) {
  const auto refused = [](const std::vector<Entry>& entries, const char* text) {
    EXPECT_THAT(BatchSchedule::Make(entries),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  refused({}, "begin at sample 0");
  refused({{1, 8}}, "begin at sample 0");
  refused({{0, 0}}, "nearest: 1");
  refused({{0, 8}, {5, 9}, {5, 10}}, "nearest: 6");
  refused({{0, 8}, {5, 7}}, "nearest: 8");
}

}  // namespace
}  // namespace hetero::data
