#include "hetero/tools/plan/candidates.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

bool Beats(const Candidate& a, const Candidate& b) {
  return a.tokens_per_second >= b.tokens_per_second && a.rank_bytes <= b.rank_bytes &&
         (a.tokens_per_second > b.tokens_per_second || a.rank_bytes < b.rank_bytes);
}

TEST(RankTest, WhatNothingBeatsComesFirst) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 20; ++round) {
    std::vector<Candidate> candidates(12);
    for (Candidate& candidate : candidates) {
      candidate.tokens_per_second = static_cast<double>(random() % 8);
      candidate.rank_bytes = static_cast<int64_t>(random() % 8);
    }
    Rank(candidates);
    for (size_t i = 0; i < candidates.size(); ++i) {
      const bool is_beaten = std::ranges::any_of(
          candidates, [&](const Candidate& other) { return Beats(other, candidates[i]); });
      if (candidates[i].is_best) {
        EXPECT_FALSE(is_beaten);
      } else {
        // Or it has an equal before it.
        EXPECT_TRUE(is_beaten || std::ranges::any_of(candidates, [&](const Candidate& other) {
                      return other.is_best && !Beats(other, candidates[i]) &&
                             !Beats(candidates[i], other) &&
                             other.rank_bytes == candidates[i].rank_bytes;
                    }));
      }
      if (i == 0 || candidates[i - 1].is_best != candidates[i].is_best) continue;
      EXPECT_GE(candidates[i - 1].tokens_per_second, candidates[i].tokens_per_second);
    }
    EXPECT_TRUE(std::ranges::is_partitioned(candidates, &Candidate::is_best));
  }
}

constexpr std::string_view kMachine = R"(description: "two cores" cores: 2 storage: F32
peak_flops: 1e10 copy_bytes: 1e10 host_seconds: 1e-6 wake_seconds: 1e-5
traffic { kind: "exchange" call_seconds: 1e-6 bytes_per_second: 1e9 })";

TEST(PredictTest, EveryLegalSplitHasAPrediction) {
  const ModelRegistry models = BuiltInModels();
  const MachineTable machine = MachineTable::Parse(kMachine, "machine").value();
  const StopSignals signals;
  std::vector<Candidate> candidates;
  const auto splits = LegalSplits(RecipeConfig("mock_vlm_tiny"), 2, models);
  ASSERT_THAT(splits, ::absl_testing::IsOk());
  for (const RecipeSplit& split : *splits) {
    const auto candidate = Predict(split, models, machine, {}, signals);
    ASSERT_THAT(candidate, ::absl_testing::IsOk()) << split.name;
    EXPECT_GT(candidate->step_seconds, 0) << split.name;
    EXPECT_GT(candidate->rank_bytes, 0) << split.name;
    candidates.push_back(*candidate);
  }
  Rank(candidates);
  const std::string text = DescribeCandidates(candidates);
  for (const Candidate& candidate : candidates) {
    EXPECT_TRUE(absl::StrContains(text, candidate.split.name));
  }
}

}  // namespace
}  // namespace hetero
