// Runs whose samples come in the order of Megatron-Energon's loader, and runs on blends of data
// sets.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/testing/captioned_images.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class EnergonRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    Write("many", 41, 'm');
    Write("few", 7, 'f');
    ASSERT_THAT(data::WriteFileAtomically(
                    TestFolder() / folder_ / "blend.yaml",
                    "__module__: megatron.energon\n__class__: MetadatasetV2\nsplits:\n"
                    "  train: {blend: [{weight: 0.9, path: many}, {weight: 0.1, path: few}]}\n"),
                IsOk());
  }

  void Write(std::string_view name, int count, char letter) {
    std::vector<CaptionedImage> samples;
    for (int i = 0; i < count; ++i) {
      samples.push_back(
          {{.height = 32, .width = 24 + 8 * (i % 2)}, std::string(1 + i % 9, letter)});
    }
    fs::create_directories(TestFolder() / folder_);
    ASSERT_THAT(WriteCaptionedImages(TestFolder() / folder_ / name, samples), IsOk());
  }

  RecipeRun Train(std::string_view data, const std::vector<std::string>& assignments) {
    std::vector<std::string> all = {CaptionedImagesSetting(folder_ / data), "train_steps=6"};
    all.insert(all.end(), assignments.begin(), assignments.end());
    return RunConfigured(RecipeConfig("mock_vlm_tiny", all));
  }

  fs::path folder_;
};

constexpr std::string_view kOrder =
    "data.energon_order={num_workers: 2 shuffle_buffer_size: 3 max_samples_per_sequence: 4}";

// From the step behind `first` on.
std::vector<double> Losses(const RecipeRun& run, size_t first) {
  std::vector<double> losses;
  for (size_t i = first; i < run.steps.size(); ++i) {
    losses.push_back(run.steps[i].losses.at(0).sum);
    losses.push_back(run.steps[i].grad_norm.value());
  }
  return losses;
}

TEST_F(EnergonRunTest, ARunInTwoPartsIsTheRunInOneToTheBit) {
  const std::string order(kOrder);
  const std::string saved = (folder_ / "saved").native();
  const RecipeRun whole =
      Train("blend.yaml", {order, absl::StrCat("checkpoint.save={folder: \"", saved,
                                               "\" interval_steps: 3 keep_last: 5}")});
  ASSERT_THAT(whole.status, IsOk());
  EXPECT_THAT(whole.output, AllOf(HasSubstr("48 samples in 2 data sets"),
                                  HasSubstr("in the order of Megatron-Energon's loader")));
  const std::string load = absl::StrCat("checkpoint.load={folder: \"", saved, "\" iteration: 3}");
  const RecipeRun rest = Train("blend.yaml", {order, load});
  ASSERT_THAT(rest.status, IsOk());
  EXPECT_EQ(rest.steps.size(), 3);
  EXPECT_EQ(Losses(rest, 0), Losses(whole, 3));

  EXPECT_THAT(Train("blend.yaml", {load}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.energon_order is not set, the checkpoint's samples came in "
                                 "it: the run would go on with other samples")));
  EXPECT_THAT(Train("blend.yaml", {order, load, "data.energon_order.num_workers=3"}).status,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("data.energon_order: the order was that of"),
                             HasSubstr("nearest: 2 workers of a lane"))));
  EXPECT_THAT(Train("blend.yaml", {order, load, "data.energon_order.shuffle_buffer_size=4"}).status,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("data.energon_order: worker 0"), HasSubstr("shuffle"))));
}

// A step has the shares of its data sets in our own order, and in the loader's.
TEST_F(EnergonRunTest, BlendsTrainInEitherOrder) {
  const RecipeRun own = Train("blend.yaml", {});
  const RecipeRun again = Train("blend.yaml", {});
  const RecipeRun loaders = Train("blend.yaml", {std::string(kOrder)});
  const RecipeRun alone = Train("many", {std::string(kOrder)});
  for (const RecipeRun* run : {&own, &again, &loaders, &alone}) {
    ASSERT_THAT(run->status, IsOk());
    ASSERT_EQ(run->steps.size(), 6);
  }
  EXPECT_EQ(Losses(own, 0), Losses(again, 0));
  EXPECT_NE(Losses(own, 0), Losses(loaders, 0));
  EXPECT_NE(Losses(alone, 0), Losses(loaders, 0));
}

TEST_F(EnergonRunTest, WhatDoesNotGoTogetherIsRefused) {
  constexpr std::string_view kPacking = "data.packing={max_patches: 128 max_images: 2}";
  EXPECT_THAT(Train("many", {std::string(kOrder), std::string(kPacking)}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.packing is set beside data.energon_order")));
  EXPECT_THAT(Train("blend.yaml", {std::string(kPacking)}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("training samples come from several data sets by their shares")));
  EXPECT_THAT(Train("few", {"data.energon_order={num_workers: 100}"}).status,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("data.energon_order")));
}

}  // namespace
}  // namespace hetero
