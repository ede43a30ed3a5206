// What is frozen keeps nothing for a backward and has nothing sent back, in the prediction and in
// the run, which fails unless it takes what was predicted.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/verify.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const std::vector<std::string> kFreezeVision = {"model.freeze_encoder=true",
                                                "model.freeze_projector=true"};

std::vector<std::string> Joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string DryRun(const std::vector<std::string>& assignments) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_vlm_tiny", assignments), {.dry_run = true});
  EXPECT_THAT(run.status, IsOk());
  return run.output;
}

// Bytes of `label` that the dry run says for `rank`.
int64_t Bytes(std::string_view dry_run, int rank, std::string_view label) {
  const size_t at = dry_run.find(absl::StrCat("rank ", rank, " ("));
  std::string_view text = dry_run.substr(dry_run.find(absl::StrCat("    ", label, " "), at));
  text.remove_prefix(4 + label.size());
  text = text.substr(0, text.find('\n'));
  int64_t bytes = -1;
  EXPECT_TRUE(absl::SimpleAtoi(absl::StripLeadingAsciiWhitespace(text), &bytes)) << text;
  return bytes;
}

TEST(FrozenRunTest, AFrozenEncoderTakesNoMemoryByTheLayer) {
  const auto of_layers = [](int layers, const std::vector<std::string>& frozen) {
    return DryRun(Joined({absl::StrCat("model.encoder.num_layers=", layers)}, frozen));
  };
  const std::vector<std::string> freeze_encoder = {"model.freeze_encoder=true"};
  for (const auto& frozen : {freeze_encoder, kFreezeVision}) {
    const std::string few = of_layers(2, frozen), many = of_layers(12, frozen);
    EXPECT_GT(Bytes(many, 0, "weights"), 3 * Bytes(few, 0, "weights"));
    for (const char* label : {"activations", "workspace", "main gradients", "optimizer"}) {
      EXPECT_EQ(Bytes(many, 0, label), Bytes(few, 0, label)) << label;
    }
  }
  const std::string few = of_layers(2, {}), many = of_layers(12, {});
  EXPECT_GT(Bytes(many, 0, "activations"), 3 * Bytes(few, 0, "activations"));
  EXPECT_LT(Bytes(of_layers(2, freeze_encoder), 0, "activations"),
            Bytes(few, 0, "activations") / 10);
}

TEST(FrozenRunTest, NothingIsSentBackToWhatIsFrozen) {
  const std::string trained = DryRun({}), frozen = DryRun(kFreezeVision);
  EXPECT_THAT(trained, HasSubstr("bridge.backward.0.send"));
  EXPECT_THAT(frozen, HasSubstr("bridge.forward.0.send"));
  EXPECT_THAT(frozen, Not(HasSubstr("bridge.backward")));
  EXPECT_THAT(frozen,
              HasSubstr("L0 F0 +sf0 L1 F1 +sf1 L2 F2 +sf2 L3 F3 +sf3 sf0 sf1 sf2 sf3 G U P S\n"));
  EXPECT_EQ(Bytes(frozen, 0, "main gradients"), 0);
  EXPECT_GT(Bytes(trained, 0, "bridge"), 0);
  EXPECT_EQ(Bytes(frozen, 0, "bridge"), 0);
  // The projector alone needs them again.
  EXPECT_THAT(DryRun({"model.freeze_encoder=true"}), HasSubstr("bridge.backward.0.send"));
}

TEST(FrozenRunTest, ParametersOfWhatIsFrozenAreNotTrained) {
  const std::string frozen = DryRun(kFreezeVision);
  EXPECT_THAT(frozen,
              ContainsRegex("\nradio_encoder: [0-9]+ parameters,[^\n]* 0 trained; at most "));
  EXPECT_THAT(frozen, ContainsRegex("\nlanguage: [0-9]+ parameters,[^\n]* [1-9][0-9]* trained; "));
}

TEST(FrozenRunTest, FrozenRanksSumNoGradients) {
  const std::vector<std::string> two_encoders = {"launch=threads:4", "radio_encoder.num_ranks=2",
                                                 "language.num_ranks=2", "language.rank_offset=2"};
  EXPECT_THAT(DryRun(two_encoders), HasSubstr("radio_encoder.0.grad"));
  EXPECT_THAT(DryRun(Joined(two_encoders, kFreezeVision)), Not(HasSubstr("radio_encoder.0.grad")));
}

TEST(FrozenRunTest, EveryPartCanBeFrozenAndTheRestTrains) {
  for (const auto& frozen : std::vector<std::vector<std::string>>{
           {"model.freeze_encoder=true"},
           {"model.freeze_projector=true"},
           {"model.freeze_language=true"},
           kFreezeVision,
           {"model.freeze_encoder=true", "model.freeze_language=true"}}) {
    for (const auto& layout : std::vector<std::vector<std::string>>{
             {}, {"launch=threads:1", "language.rank_offset=0"}}) {
      const RecipeRun run = RunConfigured(
          RecipeConfig("mock_vlm_tiny", Joined(Joined({"train_steps=2"}, frozen), layout)));
      EXPECT_THAT(run.status, IsOk()) << frozen[0];
      EXPECT_EQ(run.steps.size(), 2);
    }
  }
}

// What is not trained lies in one file of all checkpoints, whole when the older ones have gone.
TEST(FrozenRunTest, FrozenWeightsAreSavedOnce) {
  const std::vector<std::string> settings = Joined(
      {"train_steps=6",
       "checkpoint.save={folder: \"saved\" interval_steps: 2 keep_last: 2 incremental: true}"},
      kFreezeVision);
  ASSERT_THAT(RunConfigured(RecipeConfig("mock_vlm_tiny", settings)).status, IsOk());
  const std::filesystem::path folder = TestFolder() / "saved";
  EXPECT_FALSE(std::filesystem::exists(folder / "iter_0000002"));
  int num_linked = 0;
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "iter_0000006")) {
    if (entry.path().extension() != ".distcp") continue;
    const bool linked = std::filesystem::equivalent(
        entry.path(), folder / "iter_0000004" / entry.path().filename());
    EXPECT_EQ(std::filesystem::hard_link_count(entry.path()), linked ? 2 : 1);
    num_linked += linked ? 1 : 0;
    ++num_files;
  }
  EXPECT_GT(num_linked, 0);
  EXPECT_LT(num_linked, num_files);
  std::filesystem::remove_all(folder / "iter_0000004");
  PosixStorage storage;
  const absl::StatusOr<VerifyReport> report = VerifyCheckpoint(storage, folder / "iter_0000006");
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->damages, IsEmpty());
}

}  // namespace
}  // namespace hetero
