// What a rank does in a step it has done before.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/devices.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace {

std::atomic<int64_t> num_allocations = 0;

}  // namespace

// In the place of the C library's: what buffers of the CPU and of pinned memory are made of.
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) {
  ++num_allocations;
  void* address = nullptr;
  return posix_memalign(&address, alignment, bytes) == 0 ? address : nullptr;
}

namespace hetero {
namespace {

constexpr int64_t kSteps = 4;

absl::Status OneStep(RankTrainer& trainer, int64_t step) {
  HETERO_RETURN_IF_ERROR(trainer.Queue(step));
  return trainer.Result().status();
}

// Of all ranks, but for the first step.
struct Allocations {
  int64_t before = 0;
  int64_t in_steps = 0;
};

// Trains as `rank`, the first step apart from the others.
absl::Status TrainSteadily(const Job& job, const Prediction& prediction, GlobalRank rank,
                           CommunicatorFactory& factory, Allocations& allocations) {
  EngineOptions options = MakeEngineOptions(job, rank, job.devices[rank.value()], factory);
  options.memory = prediction.arenas;
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  HETERO_RETURN_IF_ERROR(OneStep(*trainer, 0));
  CallLedger& calls = trainer->engine().stream().ledger();
  calls.Reset();
  calls.RecordCollectives(true);
  // Nor does one begin the next step before all have done the first.
  HETERO_RETURN_IF_ERROR(trainer->AnyOf({}).status());
  if (rank == GlobalRank(0)) allocations.before = num_allocations;
  HETERO_RETURN_IF_ERROR(trainer->AnyOf({}).status());
  for (int64_t step = 1; step <= kSteps; ++step) {
    HETERO_RETURN_IF_ERROR(OneStep(*trainer, step));
  }
  // No rank goes on to what comes after the steps before all have done them.
  HETERO_RETURN_IF_ERROR(trainer->AnyOf({}).status());
  if (rank == GlobalRank(0)) allocations.in_steps = num_allocations - allocations.before;
  HETERO_RETURN_IF_ERROR(trainer->AnyOf({}).status());
  const int64_t reductions = std::ranges::count_if(
      calls.collectives(),
      [](const CollectiveCall& call) { return call.name.find("optimizer.") == 0; });
  if (reductions != kSteps) {
    return absl::InternalError(
        absl::StrCat(reductions, " reductions of statistics in ", kSteps, " steps"));
  }
  return absl::OkStatus();
}

// Samples of all sizes, experts that get more rows in one step than in another, a pipeline and
// divided optimizers: none of it takes memory that the first step did not have.
TEST(SteadyStepTest, AllocatesNothingAndReducesStatisticsOnce) {
  const StopSignals signals;
  absl::StatusOr<Job> job = MakeJob(
      {.config = RecipeConfig(
           "mock_vlm_tiny", {"launch=threads:6", "radio_encoder.num_ranks=2",
                             "language.num_ranks=4", "language.tp=2", "language.ep=2",
                             "language.rank_offset=2", "optimizer.buckets.bucket_elements=20000"})},
      BuiltInModels());
  ASSERT_THAT(job, ::absl_testing::IsOk());
  const absl::StatusOr<std::vector<Prediction>> predictions = PredictRun(*job, signals);
  ASSERT_THAT(predictions, ::absl_testing::IsOk());
  job->devices = DevicesOfThreads(job->config.device(), job->layout->world_size()).value();
  job->samples = PrepareSamples(job->config, ContractOf(job->model->graph()), /*num_lanes=*/1,
                                TestFolder(), {})
                     .value();
  Allocations allocations;
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) {
    const Prediction& prediction = (*predictions)[job->work.of_rank[rank.value()]];
    return TrainSteadily(*job, prediction, rank, factory, allocations);
  };
  EXPECT_THAT(RunRanks(job->layout->world_size(), run), ::absl_testing::IsOk());
  EXPECT_GT(allocations.before, 0);
  EXPECT_EQ(allocations.in_steps, 0);
}

}  // namespace
}  // namespace hetero
