#include "hetero/trainer/prediction.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/save_memory.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/checkpoint/save_settings.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

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

// Two ranks of an encoder and four of a language model, with more to save than the least room for
// it is for.
Job SavingJob(std::vector<std::string> fields) {
  fields.insert(fields.end(), {"launch=threads:6", "radio_encoder.num_ranks=2",
                               "language.num_ranks=4", "language.tp=2", "language.rank_offset=2",
                               "model.language.vocabulary_size=200000"});
  return MakeJob({.config = RecipeConfig("mock_vlm_tiny", fields), .dry_run = true},
                 BuiltInModels())
      .value();
}

// That a run takes what was predicted is looked at by every run.
TEST(PredictionTest, RanksOfAClassTakeAsMuchForCheckpoints) {
  for (const std::string save :
       {"{}", "{skip_optimizer: true}", "{host_bytes: 30000000}", "{incremental: true}"}) {
    const Job job = SavingJob({"checkpoint.save=" + save, "model.freeze_encoder=true"});
    const absl::StatusOr<std::vector<Prediction>> predictions = PredictClasses(job, StopSignals());
    ASSERT_THAT(predictions, ::absl_testing::IsOk());
    for (int64_t r = 0; r < job.layout->world_size(); ++r) {
      const GlobalRank rank(r);
      const std::unique_ptr<CommunicatorFactory> factory =
          LoopbackFactory(rank, job.layout->world_size());
      const auto trainer = RankTrainer::Create(
          MakeEngineOptions(job, rank, ShapeOnlyDevice(job), *factory), *job.optimizer);
      ASSERT_THAT(trainer, ::absl_testing::IsOk());
      EXPECT_EQ(SaveMemoryBytes(SaveOptionsOf(job.config.checkpoint().save(), **trainer, rank)),
                (*predictions)[job.work.of_rank[r]].save_bytes)
          << r << " " << save;
    }
    if (save == "{}") {
      EXPECT_GT((*predictions)[job.work.of_rank[2]].save_bytes, int64_t{20} << 20);
    }
  }
  EXPECT_EQ(PredictClasses(SavingJob({}), StopSignals()).value()[0].save_bytes, 0);
}

// Memory for checkpoints is asked for where the rest fits, and the value that is advised fits.
TEST(PredictionTest, TheHostHasRoomForWhatIsPredicted) {
  const auto check = [](const std::string& save, int64_t bytes) {
    const Job job = SavingJob({"checkpoint.save=" + save});
    return CheckHostMemory(job, PredictClasses(job, StopSignals()).value(),
                           {.bytes = bytes, .what = "the machine has"});
  };
  const Job job = SavingJob({"checkpoint.save={}"});
  const std::vector<Prediction> predictions = PredictClasses(job, StopSignals()).value();
  int64_t held = 0, saves = 0;
  for (size_t i = 0; i < predictions.size(); ++i) {
    held += job.work.classes[i].num_ranks * predictions[i].memory.total_bytes();
    saves += job.work.classes[i].num_ranks * predictions[i].save_bytes;
  }
  EXPECT_THAT(check("{}", held + saves), ::absl_testing::IsOk());
  EXPECT_THAT(check("{}", held - 1), StatusIs(absl::StatusCode::kInvalidArgument,
                                              HasSubstr("the ranks of this run need ")));
  EXPECT_THAT(check("{}", held + (int64_t{60} << 20)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no value fits, nearest is a run without checkpoint.save")));
  const int64_t limit = held + saves - 1;
  const absl::Status refused = check("{}", limit);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("checkpoint.save.host_bytes is unset, which is a quarter "
                                          "of what a rank saves: checkpoints take ")));
  const std::string nearest(refused.message().substr(refused.message().rfind("nearest is ") + 11));
  EXPECT_THAT(check("{host_bytes: " + nearest + "}", limit), ::absl_testing::IsOk());
}

}  // namespace
}  // namespace hetero
