// Whole runs on random samples, and what is known of them before they start.

#include "hetero/trainer/run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/event_file_reader.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/run_folder.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(RunTest, WhatTheMachineHasNoMemoryForIsRefusedBeforeItIsAskedFor) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_tiny", {"sequence_length=16777216", "micro_batch_size=8"}));
  EXPECT_THAT(run.status, StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("MiB of memory together, the machine has")));
}

// Initialisation and evaluations are none of it: nothing then takes less than no time.
TEST(RunTest, AProfileIsOfTheStepsAlone) {
  for (const std::string evaluation : {"", "interval_steps: 1"}) {
    const RecipeRun run = RunConfigured(
        RecipeConfig("mock_tiny", {"train_steps=2",
                                   absl::StrCat("evaluation={num_batches: 20 ", evaluation, "}")}),
        {.profile = true});
    ASSERT_THAT(run.status, IsOk());
    EXPECT_THAT(run.output, AllOf(ContainsRegex("\noutside operations +[0-9.]+ +[0-9.]+%\n"),
                                  ContainsRegex("\nwaiting +[0-9.]+ +[0-9.]+%\n")));
  }
}

TEST(RunTest, OnlyAModelThatSeesOrHearsReportsCaptions) {
  const auto result = [](std::string_view recipe) {
    const RecipeRun run =
        RunConfigured(RecipeConfig(recipe, {"train_steps=1", "evaluation={num_batches: 1}"}));
    EXPECT_THAT(run.status, IsOk());
    return run.output;
  };
  EXPECT_THAT(result("mock_tiny"),
              AllOf(HasSubstr(" validation_lm_loss="), Not(HasSubstr("caption"))));
  EXPECT_THAT(result("mock_vlm_tiny"),
              AllOf(HasSubstr(" validation_lm_loss="), HasSubstr(" caption_accuracy=")));
}

TEST(RunTest, AProfileOfNoStepsSaysSo) {
  EXPECT_THAT(RunConfigured(RecipeConfig("mock_tiny", {"train_steps=0"}), {.profile = true}).output,
              HasSubstr("\nprofile: the run ended before a step was run\n"));
}

// Logits of a row of unit mean square through a head of `width` inputs and standard deviation
// `init_std` have variance h = width * init_std^2, so the loss of targets that know nothing of them
// is ln V + h / 2 on average.
TEST(RunTest, TheFirstLossIsThatOfAnUntrainedHead) {
  constexpr double kVocabulary = 512;
  constexpr double kVariance = 128 * 0.05 * 0.05;
  for (std::string_view recipe : {"mock_tiny", "mock_vlm_tiny", "mock_avlm_tiny"}) {
    SCOPED_TRACE(recipe);
    const RecipeRun run = RunConfigured(RecipeConfig(recipe, {"train_steps=1"}));
    ASSERT_THAT(run.status, IsOk());
    ASSERT_EQ(run.steps.size(), 1);
    const LossSum& loss = run.steps[0].losses.at(0);
    const double expected = std::log(kVocabulary) + kVariance / 2;
    const double tolerance = std::max(0.02, 4 * std::sqrt(kVariance / loss.count));
    EXPECT_NEAR(loss.sum / loss.count, expected, tolerance);
    RecordProperty(std::string(recipe), absl::StrCat(loss.sum / loss.count - expected, " of ",
                                                     tolerance, ", ", loss.count, " tokens"));
  }
}

// Of S tokens of which I are an image's, the last of them and every text token but the last
// predict; text alone predicts all but its first token.
TEST(RunTest, EveryTextTokenThatFollowsSomethingCounts) {
  const auto tokens = [](std::string_view recipe) {
    return RunConfigured(RecipeConfig(recipe, {"train_steps=1"})).steps.at(0).losses.at(0).count;
  };
  EXPECT_EQ(tokens("mock_tiny"), 16 * (64 - 1));
  EXPECT_EQ(tokens("mock_vlm_tiny"), 16 * (48 - 16));
}

std::vector<std::string> Layout(int encoder, int language, bool colocated) {
  return {absl::StrCat("launch=threads:", colocated ? language : encoder + language),
          absl::StrCat("radio_encoder.num_ranks=", encoder),
          absl::StrCat("language.num_ranks=", language),
          absl::StrCat("language.rank_offset=", colocated ? 0 : encoder)};
}

// A run that allocates anything but what the dry run said, or calls other collectives, fails. Here
// evaluation has other batches than training, the last one partly padding.
TEST(RunTest, TakesTheMemoryAndTheCollectivesThatTheDryRunSaid) {
  struct Case {
    int encoder, language;
    bool colocated;
  };
  for (const Case& c : {Case{1, 1, true}, Case{2, 2, true}, Case{1, 2, false}, Case{2, 1, false},
                        Case{3, 2, false}, Case{4, 2, false}}) {
    SCOPED_TRACE(absl::StrCat(c.encoder, "+", c.language));
    std::vector<std::string> assignments = Layout(c.encoder, c.language, c.colocated);
    assignments.insert(
        assignments.end(),
        {"train_steps=2", "micro_batch_size=6", "global_batch_size=24", "evaluation.num_batches=2",
         "evaluation.global_batch_size=12", "data.mock.num_samples=20"});
    const RecipeRun run = RunConfigured(RecipeConfig("mock_vlm_tiny", assignments));
    EXPECT_THAT(run.status, IsOk());
    EXPECT_EQ(run.steps.size(), 2);
    EXPECT_TRUE(std::isfinite(ResultValue(run.output, "validation_lm_loss")));
  }
}

TEST(RunTest, TakesTheMemoryOfTheLargestClipsAndImages) {
  const RecipeRun run = RunConfigured(RecipeConfig(
      "mock_avlm_tiny", {"train_steps=2", "evaluation.num_batches=2", "data.mock.num_samples=20",
                         "evaluation.global_batch_size=16"}));
  EXPECT_THAT(run.status, IsOk());
  EXPECT_EQ(run.steps.size(), 2);
  EXPECT_TRUE(std::isfinite(ResultValue(run.output, "validation_lm_loss")));
}

// Nobody waits for an encoder that the data never reach in silence.
TEST(RunTest, DataWithoutAModalityAreCalledThat) {
  const RecipeRun run = RunConfigured(
      RecipeConfig("mock_avlm_tiny", {"train_steps=1", "data.mock={num_image_tokens: 16}"}));
  EXPECT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("mock samples, made from the seed, none of them with audio"));
}

std::string ReadFile(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Two runs into one logging folder: no event of one is in the folder of the other.
TEST(RunTest, EveryRunLeavesItsFilesInAFolderOfItsOwn) {
  const std::filesystem::path parent = TestFolder() / "two_runs";
  std::filesystem::remove_all(parent);
  std::vector<RecipeRun> runs;
  for (const std::string steps : {"train_steps=1", "train_steps=2"}) {
    runs.push_back(RunConfigured(RecipeConfig("mock_tiny", {steps, "logging.folder=two_runs"})));
    ASSERT_THAT(runs.back().status, IsOk());
  }
  std::vector<std::filesystem::path> folders(std::filesystem::directory_iterator(parent), {});
  std::ranges::sort(folders);
  ASSERT_EQ(folders.size(), 2);
  for (int i = 0; i < 2; ++i) {
    SCOPED_TRACE(folders[i]);
    EXPECT_THAT(runs[i].output, HasSubstr(absl::StrCat("output: ", folders[i].native(), "\n")));
    const auto events = ReadEventsIn(folders[i]);
    ASSERT_THAT(events, IsOk());
    int64_t num_losses = 0;
    for (const TensorBoardEvent& event : *events) {
      for (const auto& value : event.summary().value()) num_losses += value.tag() == "lm loss";
    }
    EXPECT_EQ(num_losses, i + 1);

    const auto config = ParseRunConfig(ReadFile(folders[i] / kResolvedConfigFile), "config");
    ASSERT_THAT(config, IsOk());
    EXPECT_EQ(config->train_steps(), i + 1);
    EXPECT_EQ(config->schedule().decay_steps(), i + 1);

    std::vector<std::string> printed = absl::StrSplit(runs[i].output, '\n');
    std::erase_if(printed, [](const std::string& line) { return line.starts_with("train "); });
    EXPECT_EQ(ReadFile(folders[i] / kConsoleLogFile), absl::StrJoin(printed, "\n"));
  }
}

TEST(RunTest, TheDryRunTellsPlanMemoryAndCollectivesAndNeedsNoData) {
  const RecipeRun run = RunConfigured(
      RecipeConfig("fashion_tiny", {"data.fashion_mnist.archive=nowhere"}), {.dry_run = true});
  ASSERT_THAT(run.status, IsOk());
  EXPECT_TRUE(run.steps.empty());
  EXPECT_THAT(
      run.output,
      AllOf(
          HasSubstr("64 samples a step: 4 microbatches of 8 on 2 language lanes\n"),
          HasSubstr("  radio_encoder.0 x 2 (warm-up 3, 4 in flight): L0 F0 +sf0 +rb0 L1 F1 "
                    "+sf1 +rb1 L2 F2 +sf2 +rb2 L3 F3 +sf3 +rb3 rb0 B0 rb1 B1 rb2 B2 rb3 "
                    "B3 sf0 sf1 sf2 sf3 G U P S\n"),
          HasSubstr("  language.0 x 2 (warm-up 0, 1 in flight): +rf0 +rf1 rf0 +rf2 L0 F0 "
                    "B0 +sb0 rf1 +rf3 sb0 L1 F1 B1 +sb1 rf2 sb1 L2 F2 B2 +sb2 rf3 sb2 L3 "
                    "F3 B3 +sb3 sb3 G U P S\n"),
          HasSubstr("rank 0 (radio_encoder.0) x 2\n"), HasSubstr("rank 2 (language.0) x 2\n"),
          Not(HasSubstr("rank 1")),
          HasSubstr("\nproved, whatever the speed of each rank:\n  the 2 programs of 4 ranks, 104 "
                    "operations, come to an end when a transfer completes once both ends have "
                    "posted it and all before it on its channel\n"),
          HasSubstr("all 25 collectives of a step take what they are given\n")));
  EXPECT_THAT(run.output, AllOf(HasSubstr("  collectives: 11 a step\n"),
                                HasSubstr("  collectives: 14 a step\n")));
  for (std::string_view label :
       {"weights", "main gradients", "optimizer", "activations", "workspace", "bridge", "data"}) {
    EXPECT_THAT(run.output, ContainsRegex(absl::StrCat("    ", label, " +[1-9][0-9]+\n")));
  }
  for (std::string_view call :
       {"bridge.forward.0.send", "bridge.backward.0.receive", "language.0.grad.dense0.bucket0",
        "language.0.param.expert1.bucket0", "optimizer.totals"}) {
    EXPECT_THAT(run.output, HasSubstr(call));
  }
  EXPECT_THAT(run.output, Not(HasSubstr("RESULT")));
}

// What the dry run says of `ranks`: "rank 2 (language.0) x 16".
struct ClassText {
  std::string ranks;
  std::string memory;  // bytes by label
};

int64_t BytesOf(const ClassText& ranks, std::string_view label) {
  std::smatch found;
  const std::regex line(absl::StrCat("    ", label, " +([0-9]+)"));
  return std::regex_search(ranks.memory, found, line) ? std::stoll(found[1]) : -1;
}

std::vector<ClassText> Classes(const std::string& dry_run) {
  static const std::regex kClass(
      "(rank [0-9]+ \\([^\n]*\\) x [0-9]+)\n  memory: ([^:]*)\n  operations");
  std::vector<ClassText> classes;
  for (std::sregex_iterator it(dry_run.begin(), dry_run.end(), kClass), end; it != end; ++it) {
    classes.push_back({(*it)[1], (*it)[2]});
  }
  return classes;
}

RecipeRun DryRunOf(int64_t lanes, bool dry_run) {
  return RunConfigured(
      RecipeConfig("fashion_tiny", {absl::StrCat("launch=threads:", 2 * lanes),
                                    absl::StrCat("radio_encoder.num_ranks=", lanes),
                                    absl::StrCat("language.num_ranks=", lanes),
                                    absl::StrCat("language.rank_offset=", lanes),
                                    absl::StrCat("global_batch_size=", 32 * lanes),
                                    absl::StrCat("evaluation.global_batch_size=", 40 * lanes)}),
      {.dry_run = dry_run});
}

// Two ranks are enough to know what ten thousand of their kind need.
TEST(RunTest, TheDryRunOfManyRanksIsOneOfEachClass) {
  const RecipeRun few = DryRunOf(2, /*dry_run=*/true);
  const RecipeRun many = DryRunOf(5120, /*dry_run=*/true);
  ASSERT_THAT(few.status, IsOk());
  ASSERT_THAT(many.status, IsOk());
  const std::vector<ClassText> of_few = Classes(few.output);
  const std::vector<ClassText> of_many = Classes(many.output);
  ASSERT_EQ(of_few.size(), 2);
  ASSERT_EQ(of_many.size(), 2);
  EXPECT_EQ(of_few[1].ranks, "rank 2 (language.0) x 2");
  EXPECT_EQ(of_many[0].ranks, "rank 0 (radio_encoder.0) x 5120");
  EXPECT_EQ(of_many[1].ranks, "rank 5120 (language.0) x 5120");
  for (int i = 0; i < 2; ++i) {
    for (const std::string_view label : {"activations", "workspace", "bridge", "data"}) {
      EXPECT_EQ(BytesOf(of_many[i], label), BytesOf(of_few[i], label)) << label;
    }
    // Thousands divide what two halve: shares of 128 elements at least, of which a bucket is made.
    EXPECT_LE(BytesOf(of_many[i], "optimizer"), 8 * 128 * int64_t{sizeof(float)});
    EXPECT_LE(BytesOf(of_many[i], "weights") - BytesOf(of_few[i], "weights"),
              2 * 5120 * 128 * int64_t{sizeof(float)});
  }
  EXPECT_THAT(many.output,
              HasSubstr("  language.0 x 5120 (warm-up 0, 1 in flight): +rf0 +rf1 rf0 +rf2 L0 F0 "));
}

TEST(RunTest, MoreRanksThanAProcessHasThreadsForAreOnlyPlanned) {
  EXPECT_THAT(DryRunOf(5120, /*dry_run=*/false).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("launch is threads:10240, this process runs at most 4096 ranks")));
}

// The picture that the documentation shows is what the program draws.
TEST(RunTest, ThePictureOfTheDefaultLayoutIsThatOfTheDocumentation) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("fashion_tiny"), {.dry_run = true, .picture = "layout.svg"});
  ASSERT_THAT(run.status, IsOk());
  const std::filesystem::path picture = TestFolder() / "layout.svg";
  EXPECT_THAT(run.output, HasSubstr(absl::StrCat("picture: ", picture.native(), "\n")));
  EXPECT_EQ(ReadFile(picture), ReadFile("trainer/docs/default_layout.svg"));
}

// The dry run of a GPU runs every operation's checks, with its scratch memory, where there is none.
TEST(RunTest, TheDryRunOfAGpuNeedsNone) {
  for (std::string_view precision : {"F32", "BF16"}) {
    SCOPED_TRACE(precision);
    const RecipeRun run = RunConfigured(
        RecipeConfig("fashion_tiny", {"data.fashion_mnist.archive=nowhere", "device=CUDA",
                                      absl::StrCat("precision=", precision)}),
        {.dry_run = true});
    EXPECT_THAT(run.status, IsOk());
    EXPECT_THAT(run.output, HasSubstr("optimizer.totals"));
  }
}

}  // namespace
}  // namespace hetero
