// Steps that were made to go wrong, and what a replay of their capsules says.

#include "hetero/trainer/replay/replay.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/testing/hooked_run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// Two steps of four microbatches of four samples lie before the one that goes wrong, in which the
// third microbatch does.
constexpr int kMicrobatches = 4;
constexpr int kPlanted = 2 * kMicrobatches + 2;

std::vector<std::string> Settings(std::vector<std::string> more) {
  more.insert(more.begin(), {"train_steps=4", "spike_guard.max_capsules=1"});
  return more;
}

// The capsule of iteration `iteration` in the newest run below `folder`.
fs::path CapsuleIn(const std::string& folder, int iteration) {
  fs::path newest;
  for (const auto& run : fs::directory_iterator(TestFolder() / folder)) {
    if (run.path() > newest) newest = run.path();
  }
  return newest / "capsules" / absl::StrFormat("iter_%07d", iteration);
}

struct Replayed {
  absl::Status status;
  std::string output;
};

Replayed RunAgain(const fs::path& capsule, const ModelRegistry& models) {
  const fs::path printed = TestFolder() / "replay.txt";
  FILE* const file = fopen(printed.c_str(), "w");
  Replayed replayed;
  {
    Console console(fileno(file));
    const StopSignals signals;
    replayed.status = Replay({.capsule = capsule}, models, console, signals);
  }
  fclose(file);
  std::stringstream text;
  text << std::ifstream(printed).rdbuf();
  replayed.output = text.str();
  return replayed;
}

// What a microbatch is told by, however often and from wherever it runs.
std::vector<int32_t> TokensOf(const StageInput& input) {
  const auto tokens = input.tokens->text_tokens.values<int32_t>();
  return {tokens.begin(), tokens.end()};
}

std::vector<int32_t> PlantedTokens() {
  std::vector<int32_t> found;
  const RecipeRun run = RunHooked("language",
                                  {.before_forward =
                                       [&](int forward, StageInput& input) {
                                         if (forward == kPlanted) found = TokensOf(input);
                                         return absl::OkStatus();
                                       }},
                                  {"train_steps=3"});
  EXPECT_THAT(run.status, IsOk());
  return found;
}

// Gives the planted microbatch other weights of its losses.
StageHooks Reweighs(const std::vector<int32_t>& planted, float weight) {
  return {.before_forward = [=, changed = TokenBatch(), weights = std::vector<float>()](
                                int, StageInput& input) mutable {
    if (TokensOf(input) != planted) return absl::OkStatus();
    changed = *input.tokens;
    weights.assign(changed.loss_weights.dim(0), weight);
    changed.loss_weights =
        ConstTensorView(weights.data(), DType::kF32, changed.loss_weights.dims());
    input.tokens = &changed;
    return absl::OkStatus();
  }};
}

// Gives it targets that never occur.
StageHooks Misleads(const std::vector<int32_t>& planted, int32_t target) {
  return {.before_forward = [=, changed = TokenBatch(), targets = std::vector<int32_t>()](
                                int, StageInput& input) mutable {
    if (TokensOf(input) != planted) return absl::OkStatus();
    changed = *input.tokens;
    targets.assign(changed.loss_targets.dim(0), target);
    changed.loss_targets =
        ConstTensorView(targets.data(), DType::kI32, changed.loss_targets.dims());
    input.tokens = &changed;
    return absl::OkStatus();
  }};
}

TEST(ReplayTest, ANaNIsReproducedFromACheckpointAndItsMicrobatchIsNamed) {
  const StageHooks hooks = Reweighs(PlantedTokens(), std::numeric_limits<float>::infinity());
  const RecipeRun run = RunHooked("language", hooks,
                                  Settings({"logging.folder=nan",
                                            "checkpoint.save={interval_steps: 1 keep_last: 1 "
                                            "synchronous: true}"}));
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, AllOf(HasSubstr("iteration 3: lm loss nan"), HasSubstr("--replay=")));
  const fs::path capsule = CapsuleIn("nan", 3);
  EXPECT_TRUE(fs::exists(capsule / "checkpoint/iter_0000002/manifest.json"));
  const Replayed again = RunAgain(capsule, HookedModels("language", hooks));
  EXPECT_THAT(again.status, IsOk());
  EXPECT_THAT(
      again.output,
      AllOf(HasSubstr("replays iteration 3 (samples 32 to 47) from checkpoint/iter_0000002"),
            HasSubstr("reproduced: 1 step to the bit"),
            ContainsRegex("microbatch 2, lane 0: lm loss nan; [^\n]+, "),
            ContainsRegex("microbatch 1, lane 0: lm loss [0-9]"),
            ContainsRegex("first infinite or NaN: the gradient of what was read by language.0 at "
                          "the layer of [^ ]+, microbatch 2, rank 1")));
  // What the machine did then and does not do now.
  const Replayed healed = RunAgain(capsule, HookedModels("language", {}));
  EXPECT_EQ(ExitCodeFor(healed.status), ExitCode::kNotReproduced);
  EXPECT_THAT(healed.status.message(), HasSubstr("iteration 3: lm loss is inf in the capsule, 0x"));
  // Another program, whose model names its parameters otherwise.
  const Replayed other = RunAgain(capsule, BuiltInModels());
  EXPECT_EQ(ExitCodeFor(other.status), ExitCode::kConfig);
  EXPECT_THAT(other.status.message(),
              AllOf(HasSubstr("the capsule does not fit"), HasSubstr("lacks")));
}

TEST(ReplayTest, ALayerWhoseOutputIsNotFiniteIsNamed) {
  const std::vector<int32_t> planted = PlantedTokens();
  std::vector<ConstTensorView> edges;
  std::vector<float> rows;
  const StageHooks hooks = {.before_forward = [&](int, StageInput& input) {
    if (TokensOf(input) != planted) return absl::OkStatus();
    rows.assign(input.edges[0].num_elements(), std::numeric_limits<float>::infinity());
    edges = {ConstTensorView(rows.data(), DType::kF32, input.edges[0].dims())};
    input.edges = edges;
    return absl::OkStatus();
  }};
  ASSERT_THAT(RunHooked("language", hooks, Settings({"logging.folder=layer"})).status, IsOk());
  const Replayed again = RunAgain(CapsuleIn("layer", 3), HookedModels("language", hooks));
  EXPECT_THAT(again.status, IsOk());
  EXPECT_THAT(
      again.output,
      AllOf(HasSubstr("from the weights of seed 1234"), HasSubstr("reproduced: 3 steps to the bit"),
            ContainsRegex("first infinite or NaN: the output of language.0 at the layer of "
                          "[^ ]+layers.0[^ ]+, microbatch 2, rank 1")));
}

TEST(ReplayTest, ASpikeIsReproducedAndItsMicrobatchIsNamed) {
  // The text of the samples has few ids, which the run has learnt by iteration 13.
  std::vector<std::string> settings =
      Settings({"data.mock.text_vocabulary=4", "schedule={style: CONSTANT peak: 3e-2 minimum: 0}",
                "train_steps=14", "launch=threads:3", "radio_encoder.num_ranks=2",
                "language.rank_offset=2"});
  std::vector<int32_t> planted;
  RunHooked("language",
            {.before_forward =
                 [&](int forward, StageInput& input) {
                   if (forward == 12 * kMicrobatches + 1) planted = TokensOf(input);
                   return absl::OkStatus();
                 }},
            settings);
  settings.insert(settings.end(),
                  {"logging.folder=spike", "spike_guard.factor=1.3", "spike_guard.window_steps=3",
                   "checkpoint.save.interval_steps=5"});
  const StageHooks hooks = Misleads(planted, 500);
  const RecipeRun run = RunHooked("language", hooks, settings);
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("times the mean of the steps before"));
  const Replayed again = RunAgain(CapsuleIn("spike", 13), HookedModels("language", hooks));
  EXPECT_THAT(again.status, IsOk());
  EXPECT_THAT(again.output, AllOf(HasSubstr("from checkpoint/iter_0000010"),
                                  HasSubstr("reproduced: 3 steps to the bit"),
                                  ContainsRegex("microbatch 1, lane 0: lm loss [0-9.]+, the "
                                                "largest; "),
                                  HasSubstr("every output of a layer and every gradient of one is "
                                            "finite")));
}

TEST(ReplayTest, AFaultIsReproducedWithItsMessage) {
  const std::vector<int32_t> planted = PlantedTokens();
  const StageHooks hooks = {.before_forward = [&](int, StageInput& input) {
    return TokensOf(input) == planted ? absl::DataLossError("a torn page") : absl::OkStatus();
  }};
  const RecipeRun run = RunHooked("language", hooks, Settings({"logging.folder=fault"}));
  EXPECT_THAT(run.status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a torn page")));
  const fs::path capsule = CapsuleIn("fault", 3);
  const Replayed again = RunAgain(capsule, HookedModels("language", hooks));
  EXPECT_THAT(again.status, IsOk());
  EXPECT_THAT(again.output, HasSubstr("reproduced: 2 steps to the bit, then the failure"));
  const Replayed healed = RunAgain(capsule, HookedModels("language", {}));
  EXPECT_THAT(healed.status.message(),
              AllOf(HasSubstr("a torn page"), HasSubstr("it does not fail")));
}

TEST(ReplayTest, WhatIsNoCapsuleIsRefused) {
  EXPECT_THAT(RunAgain(TestFolder() / "nothing", BuiltInModels()).status,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing/capsule.json")));
  const fs::path folder = TestFolder() / "torn";
  fs::create_directories(folder);
  std::ofstream(folder / "config.textproto") << "seed: 1\n";
  for (const char* text : {"{", "{\"format\": 2}", "{\"format\": 1}"}) {
    std::ofstream(folder / "capsule.json") << text;
    EXPECT_THAT(RunAgain(folder, BuiltInModels()).status,
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is no capsule of this")));
  }
}

}  // namespace
}  // namespace hetero
