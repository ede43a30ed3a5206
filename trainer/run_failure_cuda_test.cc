// A rank that fails or stops in the middle of a step ends the whole run in moments, on ranks that
// share a GPU and, with as many GPUs as ranks, over NCCL.

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/testing/hooked_run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// In the middle of the second step; a step has 4 microbatches.
constexpr int kBadForward = 4 + 2;

struct Case {
  std::string name;
  std::vector<std::string> layout;
  // Regular expressions: the rank with the hooks, and whom a deadline may name, the stopped rank or
  // one that in turn waits for it.
  std::string bad_rank;
  std::string laggard;
};

class RunFailureCudaTest : public ::testing::TestWithParam<Case> {
 protected:
  static RecipeRun Run(const StageHooks& hooks, std::string_view module = "radio_encoder") {
    std::vector<std::string> assignments = GetParam().layout;
    assignments.insert(assignments.end(),
                       {"device=CUDA", "train_steps=3", "collective_timeout_seconds=2"});
    return RunHooked(module, hooks, assignments);
  }
};

TEST_P(RunFailureCudaTest, AThrowEndsEveryRankWithItsMessageAndRank) {
  absl::Time thrown;
  const RecipeRun run = Run({.before_forward = [&](int forward, StageInput&) {
    if (forward == kBadForward) {
      thrown = absl::Now();
      throw std::runtime_error("the roof leaks");
    }
    return absl::OkStatus();
  }});
  EXPECT_LT(absl::Now() - thrown, absl::Seconds(10));
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(ContainsRegex(absl::StrCat("^rank ", GetParam().bad_rank, ": ")),
                             HasSubstr("the roof leaks"))));
  EXPECT_THAT(DescribeFailure(run.status), HasSubstr("ABORTED: rank "));
}

TEST_P(RunFailureCudaTest, TheDeadlineNamesARankThatStops) {
  absl::Time stopped;
  const RecipeRun run = Run({.before_forward = [&](int forward, StageInput&) {
    if (forward == kBadForward) {
      stopped = absl::Now();
      absl::SleepFor(absl::Seconds(5));
    }
    return absl::OkStatus();
  }});
  EXPECT_LT(absl::Now() - stopped, absl::Seconds(10));
  EXPECT_THAT(
      run.status,
      StatusIs(absl::StatusCode::kDeadlineExceeded,
               ContainsRegex(absl::StrCat("waited 2s for rank ", GetParam().laggard, " [(]"))));
  EXPECT_THAT(DescribeFailure(run.status), HasSubstr("last calls of every rank:"));
}

// No host waits for the ids, which here are the bits of the loss weights: the step is not applied
// and the run ends.
TEST_P(RunFailureCudaTest, IdsOutsideTheVocabularyEndTheRun) {
  TokenBatch spoilt;
  const auto spoil = [&](auto change) {
    return Run({.before_forward =
                    [&, change](int forward, StageInput& input) {
                      if (forward != kBadForward) return absl::OkStatus();
                      spoilt = *input.tokens;
                      change(spoilt);
                      input.tokens = &spoilt;
                      return absl::OkStatus();
                    }},
               "language");
  };
  const RecipeRun targets = spoil([](TokenBatch& batch) {
    batch.loss_targets =
        ConstTensorView(batch.loss_weights.address(), DType::kI32, batch.loss_weights.dims());
  });
  EXPECT_THAT(targets.status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ContainsRegex("[1-9][0-9]* token ids or targets are outside")));
  EXPECT_EQ(targets.steps.size(), 1);
  const RecipeRun ids = spoil([](TokenBatch& batch) {
    batch.text_tokens =
        ConstTensorView(batch.loss_weights.address(), DType::kI32, batch.text_tokens.dims());
  });
  EXPECT_THAT(ids.status, StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("token ids or targets are outside")));
}

INSTANTIATE_TEST_SUITE_P(Layouts, RunFailureCudaTest,
                         ::testing::Values(Case{"TwoRanks", {}, "0", "0"},
                                           Case{"ThreeRanks",
                                                {"launch=threads:3", "radio_encoder.num_ranks=2",
                                                 "language.rank_offset=2"},
                                                "[01]",
                                                "[012]"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hetero
