#include "hetero/data/sample_order.h"

#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PermutationTest, IsABijectionForEverySize) {
  for (uint64_t size = 1; size <= 300; ++size) {
    for (const uint64_t key : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
      const Permutation permutation(size, key);
      std::vector<bool> seen(size);
      for (uint64_t i = 0; i < size; ++i) {
        const uint64_t value = permutation(i);
        ASSERT_LT(value, size);
        ASSERT_FALSE(seen[value]) << size << " " << key;
        seen[value] = true;
      }
    }
  }
}

// Neighbours land far apart and every stretch of the epoch draws evenly from the data set.
TEST(PermutationTest, StretchesAreSpreadOverTheDataSet) {
  constexpr uint64_t kSize = 60000;
  constexpr int kBins = 10;
  const Permutation permutation(kSize, 42);
  for (uint64_t begin = 0; begin < kSize; begin += 6000) {
    std::vector<int> count(kBins);
    for (uint64_t i = begin; i < begin + 6000; ++i) ++count[permutation(i) * kBins / kSize];
    // Hypergeometric: mean 600, standard deviation 22.
    for (const int c : count) EXPECT_NEAR(c, 600, 22 * 5);
  }
}

TEST(SampleOrderTest, EveryEpochVisitsEachSampleOnceInItsOwnOrder) {
  const SampleOrder order = SampleOrder::Shuffled(1000, 7).value();
  std::vector<std::vector<int64_t>> epochs(3);
  for (int64_t i = 0; i < 3000; ++i) epochs[i / 1000].push_back(*order.DatasetIndex(i));
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  for (const auto& epoch : epochs) {
    EXPECT_EQ(std::set<int64_t>(epoch.begin(), epoch.end()).size(), 1000);
  }
  const SampleOrder other = SampleOrder::Shuffled(1000, 8).value();
  int equal = 0;
  for (int64_t i = 0; i < 1000; ++i) equal += other.DatasetIndex(i) == order.DatasetIndex(i);
  EXPECT_LT(equal, 10);
}

// The order is part of a run's identity: checkpoints resume into it.
TEST(SampleOrderTest, FirstSamplesOfASeedNeverChange) {
  const SampleOrder order = SampleOrder::Shuffled(60000, 1234).value();
  std::vector<int64_t> first;
  for (int64_t i = 0; i < 6; ++i) first.push_back(*order.DatasetIndex(i));
  EXPECT_THAT(first, ElementsAre(165, 11332, 4897, 25623, 5244, 57801));
}

TEST(SampleOrderTest, OnePassEnds) {
  const SampleOrder order = SampleOrder::OnePass(10).value();
  EXPECT_EQ(order.DatasetIndex(9), 9);
  EXPECT_EQ(order.DatasetIndex(10), std::nullopt);
  EXPECT_THAT(SampleOrder::OnePass(0), StatusIs(absl::StatusCode::kInvalidArgument));
}

struct Lanes {
  int64_t num_lanes;
  int64_t micro_batch_size;
};

class LaneTest : public ::testing::TestWithParam<Lanes> {};

TEST_P(LaneTest, LanesPartitionEveryStepWhateverTheirNumber) {
  const auto [num_lanes, micro_batch_size] = GetParam();
  const BatchLayout layout = {.global_batch_size = 96,
                              .samples_per_microbatch = num_lanes * micro_batch_size};
  for (int64_t step = 0; step < 3; ++step) {
    std::set<int64_t> samples;
    for (int64_t m = 0; m < layout.NumMicrobatches(); ++m) {
      for (int64_t lane = 0; lane < num_lanes; ++lane) {
        ASSERT_THAT(Validate(layout, {lane, num_lanes}), IsOk());
        const SampleRange range = LaneSamples(layout, {lane, num_lanes}, step, m);
        EXPECT_EQ(range.begin,
                  step * 96 + m * micro_batch_size * num_lanes + lane * micro_batch_size);
        EXPECT_EQ(range.size, micro_batch_size);
        for (int64_t i = 0; i < range.size; ++i) samples.insert(range.begin + i);
      }
    }
    EXPECT_EQ(samples.size(), 96);
    EXPECT_EQ(*samples.begin(), step * 96);
    EXPECT_EQ(*samples.rbegin(), step * 96 + 95);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, LaneTest,
                         ::testing::Values(Lanes{1, 1}, Lanes{1, 96}, Lanes{2, 8}, Lanes{3, 16},
                                           Lanes{8, 4}, Lanes{96, 1}));

TEST(LaneTest, EncoderLaneHoldsItsLanguageLanesSamples) {
  const BatchLayout layout = {.global_batch_size = 64, .samples_per_microbatch = 32};
  for (int64_t m = 0; m < 2; ++m) {
    const SampleRange encoder = LaneSamples(layout, {1, 2}, 5, m);
    EXPECT_EQ(encoder.begin, LaneSamples(layout, {4, 8}, 5, m).begin);
    EXPECT_EQ(encoder.begin + encoder.size - 4, LaneSamples(layout, {7, 8}, 5, m).begin);
  }
}

TEST(BatchLayoutTest, StepsThatGrowFollowOneAnotherWithoutAGap) {
  const std::vector<BatchSchedule::Entry> entries = {{0, 8}, {9, 16}, {40, 32}};
  const BatchLayout layout = {.global_batch_size = 32,
                              .samples_per_microbatch = 8,
                              .schedule = BatchSchedule::Make(entries).value()};
  int64_t next = 0;
  for (int64_t step = 0; step < 8; ++step) {
    for (int64_t m = 0; m < layout.SizeOf(step) / 8; ++m) {
      for (int64_t lane = 0; lane < 2; ++lane) {
        EXPECT_EQ(LaneSamples(layout, {lane, 2}, step, m), (SampleRange{next, 4}));
        next += 4;
      }
      EXPECT_EQ(layout.StepOf(next - 1), step);
    }
  }
  EXPECT_EQ(next, 2 * 8 + 2 * 16 + 4 * 32);
}

TEST(BatchLayoutTest, ErrorsNameTheNumbersAndTheNearestLegalOne) {
  EXPECT_THAT(Validate(BatchLayout{.global_batch_size = 70, .samples_per_microbatch = 16}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("70"), HasSubstr("16"), HasSubstr("64 would"))));
  EXPECT_THAT(Validate(BatchLayout{.global_batch_size = 64, .samples_per_microbatch = 16}, {0, 3}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("15 would")));
  for (const int64_t number : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                               std::numeric_limits<int64_t>::max()}) {
    EXPECT_THAT(Validate(BatchLayout{.global_batch_size = number, .samples_per_microbatch = 1}),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(Validate(BatchLayout{.global_batch_size = 64, .samples_per_microbatch = number}),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(
        Validate(BatchLayout{.global_batch_size = 64, .samples_per_microbatch = 16}, {0, number}),
        StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(Validate(BatchLayout{.global_batch_size = 64, .samples_per_microbatch = 16}, {2, 2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("lane 2 of 2")));
}

}  // namespace
}  // namespace hetero::data
