#include "hetero/trainer/report/spike_report.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/testing/captioned_images.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::Optional;

// 16 samples in a step of 2 microbatches of 2 lanes, shuffled.
class SpikeReportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<CaptionedImage> images(64, {{.height = 32, .width = 32}, "a"});
    ASSERT_THAT(WriteCaptionedImages(TestFolder() / "images", images), IsOk());
    folder_ = TestFolder() / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
    job_ = MakeJob({.config = RecipeConfig("mock_vlm_tiny", {CaptionedImagesSetting("images")})},
                   BuiltInModels())
               .value();
    samples_ = PrepareSamples(job_->config, ContractOf(job_->model->graph()), /*num_lanes=*/1,
                              TestFolder(), {})
                   .value();
  }

  std::unique_ptr<SpikeReport> Make() {
    auto samples = StepSamples::Create(samples_->train,
                                       {.global_batch_size = 16, .samples_per_microbatch = 8}, 2);
    return std::make_unique<SpikeReport>(LossWatch(2, 2), *std::move(samples), folder_.native());
  }

  std::string NameAt(int64_t position) {
    const int64_t index = samples_->train.order.RowAt(position)[0].index;
    data::LanguageSample sample;
    EXPECT_THAT(samples_->train.open().value()->ReadLanguage(index, sample), IsOk());
    return sample.name;
  }

  std::vector<nlohmann::json> Written() {
    std::vector<nlohmann::json> lines;
    std::ifstream file(folder_ / "spikes.jsonl");
    for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  std::filesystem::path folder_;
  std::optional<Job> job_;
  std::optional<RunSamples> samples_;
};

TEST_F(SpikeReportTest, ASpikeIsToldWithItsSamples) {
  const auto report = Make();
  EXPECT_EQ(report->Look({.step = 0, .loss_name = "lm loss", .loss = 1}), std::nullopt);
  EXPECT_EQ(report->Look({.step = 1, .loss_name = "lm loss", .loss = 1}), std::nullopt);
  EXPECT_THAT(
      report->Look({.step = 2, .loss_name = "lm loss", .loss = 9}),
      Optional(absl::StrCat("iteration 3: lm loss 9.0000, 9.0 times the mean of the steps before; "
                            "microbatch 0, lane 0: ",
                            NameAt(32), ", ", NameAt(33), ", ", NameAt(34), ", ", NameAt(35),
                            "; all 16 samples are in spikes.jsonl")));
  ASSERT_THAT(report->Close(), IsOk());
  const std::vector<nlohmann::json> lines = Written();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["iteration"], 3);
  EXPECT_EQ(lines[0]["mean"], 1);
  ASSERT_EQ(lines[0]["samples"].size(), 16u);
  for (int i = 0; i < 16; ++i) {
    const nlohmann::json& sample = lines[0]["samples"][i];
    EXPECT_EQ(sample["microbatch"], i / 8);
    EXPECT_EQ(sample["lane"], i % 8 / 4);
    EXPECT_EQ(sample["name"], NameAt(32 + i));
  }
}

TEST_F(SpikeReportTest, AGradientThatIsNotFiniteIsOneToo) {
  const auto report = Make();
  EXPECT_THAT(report->Look({.step = 0,
                            .loss_name = "lm loss",
                            .loss = 5,
                            .non_finite_gradient = "language output_layer.weight"}),
              Optional(::testing::StartsWith(
                  "iteration 1: lm loss 5.0000, the gradient of language output_layer.weight is "
                  "infinite or NaN; microbatch 0, lane 0: ")));
  EXPECT_EQ(report->Look({.step = 1, .loss_name = "lm loss", .loss = std::nan("")}), std::nullopt);
  EXPECT_EQ(report->Look({.step = 2, .loss_name = "lm loss", .loss = 5}), std::nullopt);
  EXPECT_THAT(report->Look({.step = 3, .loss_name = "lm loss", .loss = std::nan("")}),
              Optional(::testing::StartsWith("iteration 4: lm loss nan; microbatch 0, lane 0: ")));
  ASSERT_THAT(report->Close(), IsOk());
  EXPECT_EQ(Written().size(), 2u);
}

}  // namespace
}  // namespace hetero
