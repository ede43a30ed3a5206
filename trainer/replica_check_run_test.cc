// A bit that flips in one data-parallel rank's weights, and what becomes of the run.

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/params/parameter_store.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/testing/hooked_run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// Three lanes of a language model behind one encoder, which do not train: no update heals a weight.
const std::vector<std::string> kFrozen = {"launch=threads:4",   "language.num_ranks=3",
                                          "micro_batch_size=2", "global_batch_size=12",
                                          "train_steps=4",      "model.freeze_language=true"};

// A bit of `tensor` flips on one rank, in its forward `when`.
RecipeRun RunWithFlip(const std::string& tensor, int when, std::vector<std::string> assignments) {
  ParameterStore* store = nullptr;
  const StageHooks hooks = {.before_forward =
                                [&](int forward, StageInput&) {
                                  if (forward != when) return absl::OkStatus();
                                  const absl::StatusOr<Parameter*> parameter = store->Find(tensor);
                                  EXPECT_THAT(parameter, IsOk());
                                  *static_cast<unsigned char*>((*parameter)->value.address()) ^= 1;
                                  return absl::OkStatus();
                                },
                            .on_made = [&](ParameterStore& made) { store = &made; }};
  assignments.insert(assignments.begin(), kFrozen.begin(), kFrozen.end());
  return RunHooked("language", hooks, assignments);
}

TEST(ReplicaCheckRunTest, AFlippedBitIsTheFirstErrorAndNamesItsTensor) {
  const std::string tensor = "decoder.final_norm.weight";
  const RecipeRun run = RunWithFlip(tensor, /*when=*/0, {"compare_replicas_every_steps=2"});
  EXPECT_THAT(run.status.message(),
              ContainsRegex("different weights after step 2: " + tensor +
                            " of language.0 on rank [123] is not to the bit what it is on ranks "
                            "[123], [123];"));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kCommunication);
  EXPECT_EQ(run.steps.size(), 2);
}

TEST(ReplicaCheckRunTest, NobodyLooksUnasked) {
  EXPECT_THAT(RunWithFlip("decoder.final_norm.weight", 0, {}).status, IsOk());
}

// Dense weights, experts and their biases, a module without replicas: none differ, and what the
// run computes is the same to the bit.
TEST(ReplicaCheckRunTest, CleanRunsGoOnAsTheyWould) {
  const std::vector<std::vector<std::string>> layouts = {
      {"launch=threads:3", "language.num_ranks=2"},
      {"launch=threads:6", "radio_encoder.num_ranks=2", "language.rank_offset=2",
       "language.num_ranks=4", "language.tp=2", "language.ep=2"}};
  for (std::vector<std::string> layout : layouts) {
    layout.insert(layout.end(), {"train_steps=3", "evaluation={num_batches: 1}"});
    const RecipeRun plain = RunConfigured(RecipeConfig("mock_vlm_tiny", layout));
    layout.emplace_back("compare_replicas_every_steps=1");
    const RecipeRun compared = RunConfigured(RecipeConfig("mock_vlm_tiny", layout));
    ASSERT_THAT(plain.status, IsOk());
    ASSERT_THAT(compared.status, IsOk());
    ASSERT_EQ(plain.steps.size(), compared.steps.size());
    for (size_t i = 0; i < plain.steps.size(); ++i) {
      EXPECT_EQ(plain.steps[i].losses.front().sum, compared.steps[i].losses.front().sum);
      EXPECT_EQ(plain.steps[i].grad_norm, compared.steps[i].grad_norm);
    }
    EXPECT_EQ(ResultValue(plain.output, "validation_lm_loss"),
              ResultValue(compared.output, "validation_lm_loss"));
  }
}

}  // namespace
}  // namespace hetero
