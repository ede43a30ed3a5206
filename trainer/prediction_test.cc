#include "hetero/trainer/prediction.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

// Calls of a step of the first rank of each class.
std::vector<std::vector<CollectiveCall>> CallsOf(const std::vector<std::string>& fields) {
  const StopSignals signals;
  const Job job =
      MakeJob({.config = RecipeConfig("mock_vlm_tiny", fields), .dry_run = true}, BuiltInModels())
          .value();
  const absl::StatusOr<std::vector<Prediction>> predictions = PredictClasses(job, signals);
  EXPECT_THAT(predictions, ::absl_testing::IsOk());
  std::vector<std::vector<CollectiveCall>> calls;
  if (!predictions.ok()) return calls;
  for (const Prediction& prediction : *predictions) {
    calls.push_back(prediction.calls.collectives());
  }
  return calls;
}

int64_t Count(const std::vector<CollectiveCall>& calls, std::string_view kind,
              std::string_view name) {
  return std::ranges::count_if(calls, [&](const CollectiveCall& call) {
    return call.kind == kind && call.name.find(name) != std::string::npos;
  });
}

// All numbers that decide about the update travel at once; every bucket is summed into shares once
// and gathered once, and no gradient is summed whole but parts that tp ranks have.
TEST(PredictionTest, AStepHasOneReductionOfStatisticsAndTwoCallsABucket) {
  const std::vector<std::vector<CollectiveCall>> classes = CallsOf(
      {"launch=threads:6", "radio_encoder.num_ranks=2", "language.num_ranks=4", "language.tp=2",
       "language.rank_offset=2", "optimizer.buckets.bucket_elements=20000"});
  EXPECT_GE(classes.size(), 2u);
  for (const std::vector<CollectiveCall>& calls : classes) {
    EXPECT_EQ(Count(calls, "all_reduce", "optimizer."), 1);
    const int64_t buckets = Count(calls, "reduce_scatter", ".grad.");
    EXPECT_GT(buckets, 3);
    EXPECT_EQ(Count(calls, "all_gather", ".param."), buckets);
    EXPECT_EQ(Count(calls, "all_reduce", ".grad."), Count(calls, "all_reduce", ".partial"));
  }
}

}  // namespace
}  // namespace hetero
