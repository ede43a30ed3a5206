#include "hetero/data/energon/lane_order.h"

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/loader_testing.h"
#include "hetero/data/energon/rank_loader.h"
#include "hetero/data/energon/sample_reference.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

const Numbers kBases = {kFirstBase, kSecondBase, kThirdBase};

std::shared_ptr<const LoaderPlan> PlanOf(int64_t lanes, int64_t workers, int64_t batch_size = 2) {
  return LoaderPlan::Make({.splits = {Shared(First(), 5), Shared(Second(), 2), Shared(Third(), 1)},
                           .mode = BlendMode::kWeights,
                           .shape = {.num_ranks = lanes, .num_workers = workers},
                           .max_samples_per_sequence = 4,
                           .shuffle_buffer_size = 5,
                           .batch_size = batch_size})
      .value();
}

std::unique_ptr<LaneOrder> MakeOrder(const std::shared_ptr<const LoaderPlan>& plan) {
  return std::make_unique<LaneOrder>(
      plan, [](const SampleReference& sample) { return kBases[sample.data_set] + sample.place; });
}

Numbers Places(LaneOrder& order, int64_t begin, int64_t count) {
  Numbers numbers;
  for (int64_t i = begin; i < begin + count; ++i) numbers.push_back(order.IndexAt(i));
  return numbers;
}

// Microbatch after microbatch, a batch of each rank's loader.
Numbers OfLoaders(const std::shared_ptr<const LoaderPlan>& plan, int64_t num_microbatches) {
  std::vector<RankLoader> loaders;
  for (int64_t r = 0; r < plan->options().shape.num_ranks; ++r) loaders.emplace_back(plan, r);
  Numbers numbers;
  for (int64_t n = 0; n < num_microbatches; ++n) {
    for (RankLoader& loader : loaders) {
      const Numbers batch = Read(loader, kBases, 1);
      numbers.insert(numbers.end(), batch.begin(), batch.end());
    }
  }
  return numbers;
}

TEST(LaneOrderTest, AMicrobatchIsABatchOfEachRanksLoader) {
  for (const auto& [lanes, workers] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 4}, {2, 2}, {4, 1}, {4, 2}, {3, 3}}) {
    const auto plan = PlanOf(lanes, workers);
    constexpr int64_t kMicrobatches = 40;
    const Numbers expected = OfLoaders(plan, kMicrobatches);
    EXPECT_EQ(Places(*MakeOrder(plan), 0, std::ssize(expected)), expected);
    // One rank asks for its lane alone, from anywhere; another goes back.
    const auto order = MakeOrder(plan);
    for (int64_t i = std::ssize(expected) - 1; i >= 0; i -= 3) {
      ASSERT_EQ(order->IndexAt(i), expected[i]) << lanes << " lanes, place " << i;
    }
  }
}

// Behind more batches than are kept.
TEST(LaneOrderTest, WhatLiesFarBackIsTheSame) {
  const auto plan = PlanOf(1, 1);
  const auto order = MakeOrder(plan);
  const Numbers begin = Places(*order, 0, 20);
  order->IndexAt(5000);
  EXPECT_EQ(Places(*order, 0, 20), begin);
}

TEST(LaneOrderTest, ARunInPartsIsTheRunInOne) {
  std::mt19937_64 random = FreshGenerator();
  for (const auto& [lanes, workers] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 2}, {2, 2}, {4, 1}}) {
    const auto plan = PlanOf(lanes, workers);
    const int64_t microbatch = 2 * lanes;
    const Numbers whole = Places(*MakeOrder(plan), 0, 100 * microbatch);
    auto order = MakeOrder(plan);
    for (int64_t done = 0; done < 90;) {
      const int64_t until = done + 1 + static_cast<int64_t>(random() % 10);
      // Ahead of what is saved, as feeds are.
      for (int64_t i = done * microbatch; i < (until + 3) * microbatch; ++i) {
        ASSERT_EQ(order->IndexAt(i), whole[i]);
      }
      const std::vector<std::string> records = order->Save(until * microbatch);
      EXPECT_EQ(order->Save(until * microbatch), records);
      auto next = MakeOrder(plan);
      ASSERT_THAT(next->Restore(until * microbatch, records), IsOk());
      // Ranks of a process restore one after the other.
      ASSERT_EQ(next->IndexAt(until * microbatch), whole[until * microbatch]);
      ASSERT_THAT(next->Restore(until * microbatch, records), IsOk());
      EXPECT_EQ(next->Save(until * microbatch), records);
      order = std::move(next);
      done = until;
    }
  }
}

// Four workers of one lane and of four: workers go on where turns of both leave them.
TEST(LaneOrderTest, AsManyWorkersOfOtherLanesGoOnInTheirOwnOrder) {
  const auto wide = PlanOf(4, 1);
  const auto narrow = PlanOf(1, 4);
  const Numbers expected = Places(*MakeOrder(wide), 0, 400);
  EXPECT_EQ(Places(*MakeOrder(narrow), 0, 400), expected);
  const std::vector<std::string> records = MakeOrder(wide)->Save(80);
  const auto order = MakeOrder(narrow);
  ASSERT_THAT(order->Restore(80, records), IsOk());
  EXPECT_EQ(Places(*order, 80, 320), Numbers(expected.begin() + 80, expected.end()));
  // Half as many samples a batch; every worker has had as many.
  const auto half = MakeOrder(PlanOf(4, 1, /*batch_size=*/1));
  ASSERT_THAT(half->Restore(80, records), IsOk());
}

TEST(LaneOrderTest, WhatCannotGoOnIsRefusedWithWhatCould) {
  const std::vector<std::string> records = MakeOrder(PlanOf(2, 2))->Save(4 * 10);
  EXPECT_THAT(MakeOrder(PlanOf(2, 1))->Restore(40, records),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("that of 4 workers, and 2 lanes of 1 workers have another"),
                             HasSubstr("nearest: 2 workers of a lane"))));
  EXPECT_THAT(
      MakeOrder(PlanOf(3, 1))->Restore(36, records),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("nearest: lanes that divide 4")));
  // After 9 microbatches the first worker of each lane is one batch ahead.
  const std::vector<std::string> odd = MakeOrder(PlanOf(2, 2))->Save(4 * 9);
  EXPECT_THAT(MakeOrder(PlanOf(2, 2))->Restore(4 * 9, odd), IsOk());
  EXPECT_THAT(MakeOrder(PlanOf(1, 4))->Restore(4 * 9, odd),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("go on with the lanes and the micro batch size of before")));
  EXPECT_THAT(MakeOrder(PlanOf(2, 2))->Restore(40, odd),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(MakeOrder(PlanOf(2, 2, 4))->Restore(80, records),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("it was saved with batch_size 2, now it is 4")));
  std::vector<std::string> cut = records;
  cut[1].pop_back();
  EXPECT_THAT(MakeOrder(PlanOf(2, 2))->Restore(40, cut),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("worker 1")));
}

}  // namespace
}  // namespace hetero::data
