// What goes wrong inside a run ends it on every rank, with the first cause, in moments; what a run
// survives is counted.

#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/testing/hooked_run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// Two encoder ranks and one language rank, rank 2; four microbatches a step.
RecipeRun RunThreeRanks(std::string_view module, const StageHooks& hooks,
                        std::vector<std::string> assignments = {}, RecipeRunOptions options = {}) {
  assignments.insert(assignments.begin(), {"launch=threads:3", "radio_encoder.num_ranks=2",
                                           "language.rank_offset=2", "train_steps=3"});
  return RunHooked(module, hooks, assignments, std::move(options));
}

constexpr int kMicrobatches = 4;

TEST(RunFailureTest, AThrowInTheMiddleOfAStepEndsEveryRankWithItsMessageAndRank) {
  const RecipeRun run = RunThreeRanks("language", {.before_forward = [&](int forward, StageInput&) {
                                        if (forward == kMicrobatches + 3) {
                                          throw std::runtime_error("the roof leaks");
                                        }
                                        return absl::OkStatus();
                                      }});
  EXPECT_EQ(run.steps.size(), 1);
  EXPECT_THAT(run.status, StatusIs(absl::StatusCode::kInternal,
                                   AllOf(HasSubstr("rank 2: "), HasSubstr("the roof leaks"))));
  const std::string text = DescribeFailure(run.status);
  EXPECT_THAT(text, AllOf(HasSubstr("ABORTED: rank 0: "), HasSubstr("ABORTED: rank 1: ")));
}

TEST(RunFailureTest, AnErrorOfOneEncoderRankNamesStepStageAndMicrobatch) {
  const RecipeRun run =
      RunThreeRanks("radio_encoder", {.before_forward = [](int forward, StageInput&) {
                      return forward == kMicrobatches + 3 ? absl::DataLossError("a torn photograph")
                                                          : absl::OkStatus();
                    }});
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kDataLoss,
                       ContainsRegex("^rank [01]: step 1 radio_encoder.0 F3: a torn photograph$")));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kData);
  // What other ranks did is of use for failures of ranks only; the record has it.
  EXPECT_EQ(DescribeFailure(run.status), absl::StrCat("error: ", run.status.message()));
  EXPECT_THAT(FailureRecord(run.status),
              AllOf(HasSubstr("\nABORTED: rank 2: "), HasSubstr("\nlast calls of every rank:\n")));
}

TEST(RunFailureTest, TheDeadlineNamesTheRankThatLags) {
  const RecipeRun run = RunThreeRanks("radio_encoder",
                                      {.before_forward =
                                           [](int forward, StageInput&) {
                                             if (forward == 2) absl::SleepFor(absl::Seconds(4));
                                             return absl::OkStatus();
                                           }},
                                      {"collective_timeout_seconds=1"});
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
  const RecipeRun run = RunThreeRanks("language", {.before_forward = [&](int, StageInput& input) {
                                        shortened[0] =
                                            input.edges[0].Rows(0, input.edges[0].dim(0) - 1);
                                        input.edges = shortened;
                                        return absl::OkStatus();
                                      }});
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("rank 2: step 0 language.0 F0: encoder 0 emitted 63 rows for 64 "
                                 "placeholders")));
}

// Takes the loss tokens away from the forwards in [begin, end).
StageHooks Silence(int begin, int end, TokenBatch& silent) {
  return {.before_forward = [=, &silent](int forward, StageInput& input) {
    if (forward < begin || forward >= end) return absl::OkStatus();
    silent = *input.tokens;
    for (ConstTensorView* view :
         {&silent.loss_positions, &silent.loss_targets, &silent.loss_weights}) {
      *view = view->Rows(0, 0);
    }
    input.tokens = &silent;
    return absl::OkStatus();
  }};
}

TEST(RunFailureTest, AStepWithoutLossTokensIsSkippedAndCounted) {
  TokenBatch silent;
  const RecipeRun run =
      RunThreeRanks("language", Silence(kMicrobatches, 2 * kMicrobatches, silent));
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(run.steps.size(), 3);
  EXPECT_FALSE(run.steps[0].skipped);
  EXPECT_TRUE(run.steps[1].skipped);
  EXPECT_FALSE(run.steps[2].skipped);
  EXPECT_EQ(run.steps[1].losses[0].count, 0);
  EXPECT_TRUE(std::isfinite(run.steps[2].losses[0].sum));
  EXPECT_THAT(run.output, Not(HasSubstr("lm loss nan")));
  EXPECT_EQ(ResultValue(run.output, "skipped_steps"), 1);
}

TEST(RunFailureTest, ARunThatTrainedNothingSaysSo) {
  TokenBatch silent;
  const RecipeRun run = RunThreeRanks("language", Silence(0, 3 * kMicrobatches, silent));
  EXPECT_THAT(run.status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   HasSubstr("in 3 steps no token had a loss")));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kConfig);
  EXPECT_EQ(ResultValue(run.output, "skipped_steps"), 3);
}

TEST(RunFailureTest, AnEvaluationWithoutLossTokensShowsNoNumber) {
  TokenBatch silent;
  const RecipeRun run = RunThreeRanks("language", Silence(3 * kMicrobatches, 1000, silent),
                                      {"evaluation.num_batches=1"});
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr(" validation loss at iteration 3 | no token had a loss | "));
  EXPECT_THAT(run.output, Not(HasSubstr(": nan")));
  EXPECT_THAT(run.output, Not(HasSubstr("validation_lm_loss")));
}

TEST(RunFailureTest, GradientsThatAreNotFiniteAnywhereSkipTheStepEverywhere) {
  const RecipeRun run =
      RunThreeRanks("radio_encoder", {.before_backward = [](int backward, TensorView d_output) {
                      if (backward == kMicrobatches + 1) {
                        d_output.values<float>()[0] = std::numeric_limits<float>::quiet_NaN();
                      }
                    }});
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(run.steps.size(), 3);
  EXPECT_FALSE(run.steps[0].skipped);
  EXPECT_TRUE(run.steps[1].skipped);
  EXPECT_FALSE(run.steps[2].skipped);
  EXPECT_TRUE(std::isnan(run.steps[1].grad_norm.value()));
  EXPECT_THAT(run.output, ContainsRegex("iteration 2: lm loss [0-9.]+, the gradient of "
                                        "radio_encoder [^ ]+ is infinite or NaN; microbatch 0, "
                                        "lane 0: "));
  EXPECT_EQ(ResultValue(run.output, "skipped_steps"), 1);
  EXPECT_TRUE(std::isfinite(run.steps[2].grad_norm.value()));
  EXPECT_TRUE(std::isfinite(run.steps[2].losses[0].sum));
}

// The first update throws the weights to 1e30, and no later step is finite.
constexpr std::string_view kDiverging[] = {"schedule.peak=1e30", "schedule.style=CONSTANT",
                                           "logging.console_interval_steps=1"};

RecipeRun RunDiverging(std::vector<std::string> assignments) {
  assignments.insert(assignments.begin(), std::begin(kDiverging), std::end(kDiverging));
  return RunConfigured(RecipeConfig("mock_tiny", assignments));
}

TEST(RunFailureTest, ARunWhoseLastStepsWereNotFiniteEndsAsDivergedWithItsResult) {
  const RecipeRun run = RunDiverging({"train_steps=4"});
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kDiverged) << run.status;
  EXPECT_EQ(run.steps.size(), 4);
  EXPECT_THAT(run.output,
              AllOf(HasSubstr("| grad norm: nan |"),
                    HasSubstr("the last 3 of 4 steps were skipped"), HasSubstr("RESULT steps=4 ")));
  EXPECT_EQ(ResultValue(run.output, "skipped_steps"), 3);
}

TEST(RunFailureTest, AsManyStepsInARowAsTheConfigurationSaysEndTheRun) {
  const RecipeRun run = RunDiverging({"train_steps=1000", "divergence_steps=2"});
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("NaN in 2 steps in a row, up to the last of 3 (first of language "
                                 "embedding.word_embeddings.weight);")));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kDiverged);
  EXPECT_EQ(run.steps.size(), 3);
  EXPECT_EQ(ResultValue(run.output, "steps"), 3);
}

// The feed refuses such samples; here the ids are spoilt behind it.
TEST(RunFailureTest, AnIdOutsideTheVocabularyIsNamedWithItsRange) {
  const std::vector<int32_t> ids(4 * 48, 600);
  TokenBatch spoilt;
  const RecipeRun run =
      RunThreeRanks("language", {.before_forward = [&](int forward, StageInput& input) {
                      if (forward == kMicrobatches + 3) {
                        spoilt = *input.tokens;
                        spoilt.text_tokens = ConstTensorView(ids.data(), DType::kI32,
                                                             input.tokens->text_tokens.dims());
                        input.tokens = &spoilt;
                      }
                      return absl::OkStatus();
                    }});
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("rank 2: step 1 language.0 F3: token id 600 at 0; expected 0 to "
                                 "511")));
}

// A rank whose signals are others' too: only one hears of the stop, and all end together.
StageHooks RaiseAt(int forward, int& num_forwards) {
  return {.before_forward = [forward, &num_forwards](int number, StageInput&) {
    num_forwards = number + 1;
    if (number == forward) std::raise(SIGTERM);
    return absl::OkStatus();
  }};
}

TEST(RunFailureTest, AStopSignalLetsTheStepFinishAndNotOneMore) {
  for (const int forward : {0, kMicrobatches + 1, 3 * kMicrobatches - 1}) {
    int num_forwards = 0;
    const RecipeRun run =
        RunThreeRanks("language", RaiseAt(forward, num_forwards), {"train_steps=1000"});
    EXPECT_THAT(run.status,
                StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped by signal 15")));
    EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kStopped);
    EXPECT_EQ(run.steps.size(), forward / kMicrobatches + 1);
    EXPECT_EQ(ResultValue(run.output, "steps"), static_cast<double>(run.steps.size()));
  }
}

TEST(RunFailureTest, AStopSignalEndsAnEvaluationWithItsBatch) {
  const std::string evaluation =
      "evaluation={num_batches: 1000 micro_batch_size: 4 global_batch_size: 16}";
  for (const bool in_training : {true, false}) {
    std::vector<std::string> assignments = {"train_steps=2", evaluation};
    if (in_training) assignments.push_back("evaluation.interval_steps=1");
    const int before = (in_training ? 1 : 2) * kMicrobatches;
    int num_forwards = 0;
    const RecipeRun run = RunThreeRanks("language", RaiseAt(before + 5, num_forwards), assignments);
    EXPECT_THAT(run.status,
                StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped by signal 15")));
    EXPECT_LE(num_forwards, before + 3 * kMicrobatches);
    EXPECT_EQ(run.steps.size(), in_training ? 1 : 2);
    EXPECT_THAT(run.output, AllOf(HasSubstr("RESULT steps="), Not(HasSubstr("validation"))));
  }
}

TEST(RunFailureDeathTest, ARankThatALibraryKeepsForEverDoesNotKeepTheProcess) {
  const auto run = [] {
    RecipeRunOptions options;
    options.on_stuck = [](const absl::Status& failure) {
      std::cerr << DescribeFailure(failure) << std::endl;
      std::_Exit(static_cast<int>(ExitCodeFor(failure)));
    };
    RunThreeRanks("language",
                  {.before_forward =
                       [](int forward, StageInput&) {
                         if (forward == 2) absl::SleepFor(absl::InfiniteDuration());
                         return absl::OkStatus();
                       }},
                  {"collective_timeout_seconds=1"}, options);
  };
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run(), ::testing::ExitedWithCode(4),
              "waited 1s for rank 2 .*rank 2: has not come back.*last calls of every rank:");
}

}  // namespace
}  // namespace hetero
