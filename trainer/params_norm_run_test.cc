// The norm of all parameters against that of what a checkpoint has, in every kind of layout.

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::HasSubstr;
using ::testing::Not;

// Of a rate that changes no bit of a parameter unless said otherwise.
RecipeRun Train(std::vector<std::string> assignments) {
  assignments.insert(assignments.begin(), {"train_steps=3", "logging.params_norm=true",
                                           "schedule={style: CONSTANT peak: 1e-30 minimum: 0}"});
  return RunConfigured(RecipeConfig("mock_vlm_tiny", assignments));
}

// Element by element, of the weights that lie in the checkpoint after the last step.
double NormInCheckpoint(const std::string& folder) {
  PosixStorage storage;
  const std::unique_ptr<StoredTensors> tensors =
      StoredTensors::Open(storage, TestFolder() / folder / "iter_0000003").value();
  double squares = 0;
  for (const auto& [key, head] : tensors->heads()) {
    if (head.type != ElementType::kF32 || absl::StrContains(key, ".optimizer.") ||
        absl::StrContains(key, "expert_bias")) {
      continue;
    }
    const std::vector<std::byte> bytes = tensors->Read(key).value();
    for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
      float value;
      std::memcpy(&value, bytes.data() + i, sizeof(value));
      squares += double{value} * value;
    }
  }
  return std::sqrt(squares);
}

TEST(ParamsNormRunTest, IsThatOfTheWeightsInEveryLayout) {
  const RecipeRun plain = Train({"checkpoint.save.folder=plain"});
  ASSERT_THAT(plain.status, IsOk());
  const double expected = NormInCheckpoint("plain");
  EXPECT_GT(expected, 1);
  const std::vector<std::vector<std::string>> layouts = {
      {},
      {"launch=threads:3", "language.num_ranks=2", "language.tp=2"},
      {"launch=threads:3", "language.num_ranks=2"},
      {"launch=threads:3", "language.num_ranks=2", "language.ep=2"},
      {"launch=threads:6", "language.num_ranks=5", "language.pp=5"},
      {"launch=threads:4", "radio_encoder.num_ranks=2", "language.rank_offset=2",
       "language.num_ranks=2", "radio_encoder.tp=2", "language.tp=2", "language.expt_tp=2"},
      {"launch=threads:1", "language.rank_offset=0"},
      {"model.freeze_encoder=true"},
      {"launch=threads:4", "radio_encoder.num_ranks=2", "language.rank_offset=2",
       "language.num_ranks=2", "radio_encoder.tp=2", "model.freeze_encoder=true",
       "model.freeze_language=true"}};
  for (const std::vector<std::string>& layout : layouts) {
    SCOPED_TRACE(layout.empty() ? "" : layout.back());
    const RecipeRun run = Train(layout);
    ASSERT_THAT(run.status, IsOk());
    EXPECT_NEAR(run.steps.back().params_norm.value(), expected, 1e-12 * expected);
  }
}

TEST(ParamsNormRunTest, IsToldAfterTheUpdateWhereSomethingIsTold) {
  const RecipeRun run =
      Train({"schedule={style: CONSTANT peak: 1e-1 minimum: 0}", "checkpoint.save.folder=moves",
             "logging.console_interval_steps=3", "logging.event_interval_steps=100"});
  ASSERT_THAT(run.status, IsOk());
  EXPECT_TRUE(run.steps[0].params_norm.has_value());
  EXPECT_FALSE(run.steps[1].params_norm.has_value());
  const double norm = run.steps[2].params_norm.value();
  EXPECT_NEAR(norm, NormInCheckpoint("moves"), 1e-12 * norm);
  EXPECT_GT(std::abs(norm - run.steps[0].params_norm.value()), 1e-3);
  EXPECT_THAT(run.output, HasSubstr(" | params norm: "));
  const RecipeRun without = Train({"logging.params_norm=false"});
  EXPECT_THAT(without.output, Not(HasSubstr("params norm")));
}

}  // namespace
}  // namespace hetero
