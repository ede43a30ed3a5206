// Images that are encoded elsewhere: what a run computes with data.balance.images is what it
// computes without.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// Images of 64 to 256 patches, up to three a sample: no product on the way of one has so few rows
// that the CPU's library sums it in another order.
constexpr char kMock[] =
    "data.mock={num_image_tokens: 96 max_images: 3 min_image_patches: 64 max_image_patches: 256 "
    "image_percent: 60}";

std::string Grid(const std::string& name, const std::string& more) {
  return "{name: \"" + name + "\" " + more + "}";
}

struct Case {
  std::string name;
  std::string launch;
  std::string vision;
  std::string language;
  int64_t micro_batch_size = 2;
  std::vector<std::string> more = {};
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

proto::RunConfig ConfigOf(const Case& c, bool balance, std::vector<std::string> more = {}) {
  std::vector<std::string> assignments = {
      kMock,
      "sequence_length=128",
      "train_steps=3",
      "launch=" + c.launch,
      "grids[0]=" + Grid("radio_encoder", c.vision),
      "grids[1]=" + Grid("language", c.language),
      "micro_batch_size=" + std::to_string(c.micro_batch_size),
      "global_batch_size=" + std::to_string(8 * c.micro_batch_size)};
  if (balance) assignments.push_back("data.balance={images: true}");
  assignments.insert(assignments.end(), c.more.begin(), c.more.end());
  assignments.insert(assignments.end(), more.begin(), more.end());
  return RecipeConfig("mock_vlm_tiny", assignments);
}

std::vector<StepMetrics> StepsOf(const proto::RunConfig& config) {
  RecipeRun run = RunConfigured(config);
  EXPECT_THAT(run.status, IsOk());
  EXPECT_EQ(run.steps.size(), 3u);
  return std::move(run.steps);
}

double Loss(const StepMetrics& step) { return step.losses.at(0).sum; }

class BalanceRunTest : public testing::TestWithParam<Case> {};

// The encoder is frozen and the rest of the model trains: bit for bit, step after step.
TEST_P(BalanceRunTest, TrainsAFrozenEncodersLanguageModelBitForBit) {
  const std::vector<std::string> frozen = {"model.freeze_encoder=true",
                                           "model.freeze_projector=true"};
  const std::vector<StepMetrics> balanced = StepsOf(ConfigOf(GetParam(), true, frozen));
  const std::vector<StepMetrics> by_lane = StepsOf(ConfigOf(GetParam(), false, frozen));
  for (size_t i = 0; i < by_lane.size(); ++i) {
    EXPECT_EQ(Loss(balanced.at(i)), Loss(by_lane[i]));
    EXPECT_EQ(balanced[i].grad_norm, by_lane[i].grad_norm);
    EXPECT_FALSE(by_lane[i].image_balance.has_value());
    ASSERT_TRUE(balanced[i].image_balance.has_value());
    EXPECT_LE(balanced[i].image_balance->shared, balanced[i].image_balance->by_lane);
  }
}

// An encoder that trains sums the gradients of its weights over other images on each rank: what
// comes before the first update is equal bit for bit, what follows to rounding.
TEST_P(BalanceRunTest, TrainsAnEncoderToRounding) {
  const std::vector<std::string> more = {"optimizer.correct_partial_participation=true"};
  const std::vector<StepMetrics> balanced = StepsOf(ConfigOf(GetParam(), true, more));
  const std::vector<StepMetrics> by_lane = StepsOf(ConfigOf(GetParam(), false, more));
  EXPECT_EQ(Loss(balanced.at(0)), Loss(by_lane.at(0)));
  for (size_t i = 0; i < by_lane.size(); ++i) {
    EXPECT_NEAR(Loss(balanced.at(i)), Loss(by_lane[i]), 1e-5 * Loss(by_lane[i]));
    EXPECT_NEAR(balanced[i].grad_norm.value(), by_lane[i].grad_norm.value(),
                1e-4 * *by_lane[i].grad_norm);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, BalanceRunTest,
    testing::Values(Case{"Dp2ToDp2", "threads:4", "num_ranks: 2 rank_offset: 0",
                         "num_ranks: 2 rank_offset: 2"},
                    Case{"Dp2ToDp4", "threads:6", "num_ranks: 2 rank_offset: 0",
                         "num_ranks: 4 rank_offset: 2", 1},
                    Case{"Dp4ToDp2Evaluates",
                         "threads:6",
                         "num_ranks: 4 rank_offset: 0",
                         "num_ranks: 2 rank_offset: 4",
                         2,
                         {"evaluation={interval_steps: 3 num_batches: 2}"}},
                    Case{"Dp3ToDp2Synchronous",
                         "threads:5",
                         "num_ranks: 3 rank_offset: 0",
                         "num_ranks: 2 rank_offset: 3",
                         3,
                         {"encoder_run_ahead=0"}},
                    Case{"Tp2Dp2ToTp2", "threads:6", "num_ranks: 4 rank_offset: 0 tp: 2",
                         "num_ranks: 2 rank_offset: 4 tp: 2", 2},
                    Case{"Pp2Dp2ToPp2",
                         "threads:6",
                         "num_ranks: 4 rank_offset: 0 pp: 2",
                         "num_ranks: 2 rank_offset: 4 pp: 2",
                         4,
                         {"model.language.pattern=\"ME|M*E\""}},
                    Case{"Colocated", "threads:2", "num_ranks: 2 rank_offset: 0",
                         "num_ranks: 2 rank_offset: 0"},
                    Case{"ColocatedDp4ToTp2Dp2", "threads:4", "num_ranks: 4 rank_offset: 0",
                         "num_ranks: 4 rank_offset: 0 tp: 2"},
                    Case{"ColocatedDp4ToPp2Dp2",
                         "threads:4",
                         "num_ranks: 4 rank_offset: 0",
                         "num_ranks: 4 rank_offset: 0 pp: 2",
                         2,
                         {"model.language.pattern=\"ME|M*E\""}}),
    [](const auto& info) { return info.param.name; });

TEST(BalanceRunTest, TellsHowEvenTheWorkIs) {
  const Case c = {"", "threads:4", "num_ranks: 2 rank_offset: 0", "num_ranks: 2 rank_offset: 2"};
  const RecipeRun run = RunConfigured(ConfigOf(c, true));
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("| encoder work max/mean: 1."));
  EXPECT_THAT(run.output, HasSubstr(", by lane: 1."));
}

TEST(BalanceRunTest, RefusesWhereThereIsNothingToShare) {
  const auto refused = [](const std::string& recipe) {
    return RunConfigured(RecipeConfig(recipe, {"data.balance={images: true}"}), {.dry_run = true})
        .status;
  };
  EXPECT_THAT(refused("mock_vlm_tiny"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.balance.images is true, radio_encoder has 1 data-parallel "
                                 "rank, which has nobody to share images with; nearest: false")));
  EXPECT_THAT(refused("mock_tiny"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.balance.images is true, the model has no encoder of "
                                 "images; nearest: false")));
}

}  // namespace
}  // namespace hetero
