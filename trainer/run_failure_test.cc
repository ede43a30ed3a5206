// What goes wrong inside a run ends it on every rank, with the first cause, in moments; what a run
// survives is counted.

#include <atomic>
#include <cmath>
#include <csignal>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/models/stage.h"
#include "hetero/models/vlm/vlm.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// Called with the number of the call, from 0, before the stage does its work; may change what the
// stage gets.
struct StageHooks {
  std::function<absl::Status(int forward, StageInput& input)> before_forward;
  std::function<void(int backward, TensorView d_output)> before_backward;
};

class HookedStage : public Stage {
 public:
  HookedStage(std::unique_ptr<Stage> stage, StageHooks hooks)
      : stage_(std::move(stage)), hooks_(std::move(hooks)) {}

  absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot,
                                     const StageInput& input) override {
    StageInput changed = input;
    if (hooks_.before_forward) {
      if (absl::Status status = hooks_.before_forward(num_forwards_++, changed); !status.ok()) {
        return status;
      }
    }
    return stage_->Forward(context, slot, changed);
  }
  absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                        std::span<const TensorView> d_upstream) override {
    if (hooks_.before_backward) hooks_.before_backward(num_backwards_++, d_output);
    return stage_->Backward(context, slot, d_output, d_upstream);
  }
  absl::Status FinishStep(Communicator* data_parallel, Stream& stream) override {
    return stage_->FinishStep(data_parallel, stream);
  }
  absl::StatusOr<StageCounts> TakeTotals(const TensorView& totals, Stream& stream) override {
    return stage_->TakeTotals(totals, stream);
  }

 private:
  std::unique_ptr<Stage> stage_;
  StageHooks hooks_;
  int num_forwards_ = 0;
  int num_backwards_ = 0;
};

// A model one of whose ranks, the first that makes a stage of `module` with data, has hooks.
class HookedModel : public Model {
 public:
  HookedModel(std::unique_ptr<Model> model, std::string_view module, StageHooks hooks)
      : model_(std::move(model)), module_(module), hooks_(std::move(hooks)) {}

  std::vector<std::string> modules() const override { return model_->modules(); }
  std::vector<ModelEdge> edges() const override { return model_->edges(); }
  DType storage() const override { return model_->storage(); }
  int64_t hidden_width(std::string_view module) const override {
    return model_->hidden_width(module);
  }
  InputContract input_contract() const override { return model_->input_contract(); }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                           const ShardSpec& shard) const override {
    return model_->MakeTable(module, shard);
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view module, StagePlace place,
                                                   const StageResources& resources) const override {
    absl::StatusOr<std::unique_ptr<Stage>> stage = model_->MakeStage(module, place, resources);
    const bool with_data = resources.device.kind != DeviceKind::kShapeOnly;
    if (!stage.ok() || module != module_ || !with_data || taken_.exchange(true)) return stage;
    return std::make_unique<HookedStage>(*std::move(stage), hooks_);
  }

 private:
  std::unique_ptr<Model> model_;
  const std::string module_;
  const StageHooks hooks_;
  mutable std::atomic<bool> taken_ = false;
};

// Two encoder ranks and one language rank, rank 2; four microbatches a step.
RecipeRun RunHooked(std::string_view module, StageHooks hooks,
                    std::vector<std::string> assignments = {}) {
  assignments.insert(assignments.begin(), {"launch=threads:3", "radio_encoder.num_ranks=2",
                                           "language.rank_offset=2", "train_steps=3"});
  RecipeRunOptions options;
  options.models.Register<proto::VisionLanguageModel>(
      [&](const proto::VisionLanguageModel& config,
          DType storage) -> absl::StatusOr<std::unique_ptr<Model>> {
        absl::StatusOr<std::unique_ptr<Model>> model = MakeVisionLanguageModel(config, storage);
        if (!model.ok()) return model;
        return std::make_unique<HookedModel>(*std::move(model), module, hooks);
      });
  return RunConfigured(RecipeConfig("mock_vlm_tiny", assignments), options);
}

constexpr int kMicrobatches = 4;

TEST(RunFailureTest, AThrowInTheMiddleOfAStepEndsEveryRankWithItsMessageAndRank) {
  absl::Time thrown;
  const RecipeRun run = RunHooked("language", {.before_forward = [&](int forward, StageInput&) {
                                    if (forward == kMicrobatches + 3) {
                                      thrown = absl::Now();
                                      throw std::runtime_error("the roof leaks");
                                    }
                                    return absl::OkStatus();
                                  }});
  EXPECT_LT(absl::Now() - thrown, absl::Seconds(10));
  EXPECT_EQ(run.steps.size(), 1);
  EXPECT_THAT(run.status, StatusIs(absl::StatusCode::kInternal,
                                   AllOf(HasSubstr("rank 2: "), HasSubstr("the roof leaks"))));
  const std::string text = DescribeFailure(run.status);
  EXPECT_THAT(text, AllOf(HasSubstr("ABORTED: rank 0: "), HasSubstr("ABORTED: rank 1: ")));
}

TEST(RunFailureTest, AnErrorOfOneEncoderRankNamesStepStageAndMicrobatch) {
  const RecipeRun run = RunHooked("radio_encoder", {.before_forward = [](int forward, StageInput&) {
                                    return forward == kMicrobatches + 3
                                               ? absl::DataLossError("a torn photograph")
                                               : absl::OkStatus();
                                  }});
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kDataLoss,
                       ContainsRegex("^rank [01]: step 1 radio_encoder.0 F3: a torn photograph$")));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kData);
  EXPECT_THAT(DescribeFailure(run.status), HasSubstr("ABORTED: rank 2: "));
}

TEST(RunFailureTest, TheDeadlineNamesTheRankThatLags) {
  const absl::Time start = absl::Now();
  const RecipeRun run = RunHooked("radio_encoder",
                                  {.before_forward =
                                       [](int forward, StageInput&) {
                                         if (forward == 2) absl::SleepFor(absl::Seconds(4));
                                         return absl::OkStatus();
                                       }},
                                  {"collective_timeout_seconds=1"});
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  // Rank 2 waits for the sleeper, an encoder rank may wait for rank 2: whoever began first.
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       ContainsRegex("waited 1s for rank ([01] [(]left |2 [(]is in 'bridge)")));
  EXPECT_THAT(DescribeFailure(run.status),
              AllOf(HasSubstr("last calls of every rank:\nrank 0: "),
                    ContainsRegex("IN FLIGHT  wait bridge[.](forward|backward)[.]0[.]receive")));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kCommunication);
}

TEST(RunFailureTest, ImageTokensThatDoNotMatchThePlaceholdersNameBothCounts) {
  std::vector<ConstTensorView> shortened(1);
  const RecipeRun run = RunHooked("language", {.before_forward = [&](int, StageInput& input) {
                                    shortened[0] =
                                        input.upstream[0].Rows(0, input.upstream[0].dim(0) - 1);
                                    input.upstream = shortened;
                                    return absl::OkStatus();
                                  }});
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("rank 2: step 0 language.0 F0: the encoder emitted 63 image "
                                 "tokens for 64 placeholders")));
}

TEST(RunFailureTest, AStepWithoutLossTokensIsSkippedAndCounted) {
  TokenBatch silent;
  const RecipeRun run =
      RunHooked("language", {.before_forward = [&](int forward, StageInput& input) {
                  if (forward / kMicrobatches != 1) return absl::OkStatus();
                  silent = *input.tokens;
                  for (ConstTensorView* view :
                       {&silent.loss_positions, &silent.loss_targets, &silent.loss_weights}) {
                    *view = view->Rows(0, 0);
                  }
                  input.tokens = &silent;
                  return absl::OkStatus();
                }});
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(run.steps.size(), 3);
  EXPECT_FALSE(run.steps[0].skipped);
  EXPECT_TRUE(run.steps[1].skipped);
  EXPECT_FALSE(run.steps[2].skipped);
  EXPECT_EQ(run.steps[1].losses[0].count, 0);
  EXPECT_TRUE(std::isfinite(run.steps[2].losses[0].sum));
  EXPECT_THAT(run.output, Not(HasSubstr("lm loss nan")));
}

TEST(RunFailureTest, GradientsThatAreNotFiniteAnywhereSkipTheStepEverywhere) {
  const RecipeRun run =
      RunHooked("radio_encoder", {.before_backward = [](int backward, TensorView d_output) {
                  if (backward == kMicrobatches + 1) {
                    d_output.values<float>()[0] = std::numeric_limits<float>::quiet_NaN();
                  }
                }});
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(run.steps.size(), 3);
  EXPECT_FALSE(run.steps[0].skipped);
  EXPECT_TRUE(run.steps[1].skipped);
  EXPECT_FALSE(run.steps[2].skipped);
  EXPECT_TRUE(std::isfinite(run.steps[2].grad_norm.value()));
  EXPECT_TRUE(std::isfinite(run.steps[2].losses[0].sum));
}

TEST(RunFailureTest, AStopSignalLetsTheStepFinish) {
  RecipeRunOptions options;
  options.on_step = [](const StepMetrics& step) {
    if (step.iteration == 3) std::raise(SIGTERM);
  };
  const RecipeRun run = RunConfigured(RecipeConfig("mock_vlm_tiny", {"train_steps=1000"}), options);
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped by signal 15")));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kStopped);
  EXPECT_LE(run.steps.size(), 5);
  EXPECT_EQ(ResultValue(run.output, "steps"), static_cast<double>(run.steps.size()));
}

}  // namespace
}  // namespace hetero
