#include "hetero/trainer/timing/forecast.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// Every second of it takes `slowness` times as long.
MachineTable Machine(double slowness = 1, int cores = 2) {
  return MachineTable::Parse(
             absl::StrCat("description: 'made up' storage: F32 cores: ", cores,
                          " peak_flops: ", 1e10 / slowness, " copy_bytes: ", 1e10 / slowness,
                          " host_seconds: ", 1e-6 * slowness, " wake_seconds: ", 1e-5 * slowness,
                          " traffic { kind: 'exchange' call_seconds: ", 1e-6 * slowness,
                          " bytes_per_second: ", 1e9 / slowness, "}"),
             "machine")
      .value();
}

Job MakeRecipeJob(const std::vector<std::string>& fields = {}) {
  return MakeJob({.config = RecipeConfig("mock_vlm_tiny", fields)}, BuiltInModels()).value();
}

double Seconds(const Job& job, const MachineTable& machine) {
  const StopSignals signals;
  const absl::StatusOr<StepForecast> forecast = ForecastStep(job, machine, signals);
  EXPECT_THAT(forecast, IsOk());
  return forecast.value_or(StepForecast()).seconds;
}

TEST(ForecastTest, AMachineThatIsHalfAsFastTakesTwiceAsLong) {
  const Job job = MakeRecipeJob();
  const double seconds = Seconds(job, Machine());
  EXPECT_GT(seconds, 0);
  EXPECT_NEAR(Seconds(job, Machine(2)) / seconds, 2, 1e-6);
}

TEST(ForecastTest, NeverBeatsItsCoresNorOneRank) {
  const std::vector<std::string> alone = {"launch=threads:1", "radio_encoder.num_ranks=1",
                                          "language.num_ranks=1", "language.rank_offset=0"};
  const double one = Seconds(MakeRecipeJob(alone), Machine());
  EXPECT_NEAR(Seconds(MakeRecipeJob(alone), Machine(1, 8)) / one, 1, 1e-9);
  const Job job = MakeRecipeJob();
  EXPECT_GE(Seconds(job, Machine(1, 1)), Seconds(job, Machine(1, 2)));
  EXPECT_GE(2 * Seconds(job, Machine(1, 2)), Seconds(job, Machine(1, 1)));
}

TEST(ForecastTest, SharesAreShares) {
  const StopSignals signals;
  const StepForecast forecast = ForecastStep(MakeRecipeJob(), Machine(), signals).value();
  ASSERT_EQ(forecast.modules.size(), 2u);
  for (const ModuleForecast& module : forecast.modules) {
    EXPECT_GE(module.bubble, 0) << module.name;
    EXPECT_LT(module.bubble, 1) << module.name;
    EXPECT_GT(module.mfu, 0) << module.name;
    EXPECT_LT(module.mfu, 1) << module.name;
  }
  EXPECT_THAT(DescribeForecast(forecast, Machine()),
              ::testing::AllOf(HasSubstr("made up"), HasSubstr("language"), HasSubstr("largest")));
}

// Samples of the run are not all as large as they may be.
TEST(ForecastTest, CountsTheSamplesOfTheRun) {
  Job job = MakeRecipeJob();
  const double largest = Seconds(job, Machine());
  job.samples =
      PrepareSamples(job.config, ContractOf(job.model->graph()), /*num_lanes=*/1, TestFolder(), {})
          .value();
  const double counted = Seconds(job, Machine());
  EXPECT_GT(counted, 0.1 * largest);
  EXPECT_LE(counted, largest);
}

TEST(ForecastTest, SharesOfSamplesAreAMean) {
  const Job job = MakeRecipeJob();
  const StopSignals signals;
  const auto seconds = [&](std::vector<ImageCount> histogram) {
    const auto shares = SharesOf(histogram, ContractOf(job.model->graph()), job.limits).value();
    return ForecastStep(job, Machine(1, 1), signals, shares).value().seconds;
  };
  const ImageSize largest = job.limits.modalities[0].sizes[0];
  const double with = seconds({{largest, 1}});
  const double without = seconds({{{0, 0}, 1}});
  EXPECT_LT(without, with);
  EXPECT_GT(seconds({{largest, 1}, {{0, 0}, 1}}), without);
  EXPECT_LT(seconds({{largest, 1}, {{0, 0}, 1}}), with);
}

TEST(ForecastTest, RefusesATableOfAnotherKindOfMachine) {
  const StopSignals signals;
  EXPECT_THAT(ForecastStep(MakeRecipeJob(), LoadMachine("h200", "/").value(), signals),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--device=cuda")));
  EXPECT_THAT(
      ForecastStep(MakeRecipeJob({"device=CUDA"}), LoadMachine("h200", "/").value(), signals),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("precision=BF16")));
}

}  // namespace
}  // namespace hetero
