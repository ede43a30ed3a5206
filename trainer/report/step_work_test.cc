#include "hetero/trainer/report/step_work.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/models/registry.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/testing/captioned_images.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Counted {
  explicit Counted(const std::vector<std::string>& settings)
      : job(MakeJob({.config = RecipeConfig("mock_vlm_tiny", settings)}, BuiltInModels()).value()),
        samples(PrepareSamples(job.config, ContractOf(job.model->graph()), /*num_lanes=*/1,
                               TestFolder(), {})
                    .value()),
        counter(StepWorkCounter::Create(*job.model, samples.train, job.config.sequence_length(),
                                        data::BatchSchedule(job.config.global_batch_size()))
                    .value()) {}

  Job job;
  RunSamples samples;
  std::unique_ptr<StepWorkCounter> counter;
};

// All samples of this recipe are of the largest size.
TEST(StepWorkTest, IsWhatTheModelSaysOfEverySample) {
  Counted counted({});
  const SampleFacts largest =
      LargestSample(counted.job.config.sequence_length(), counted.job.limits);
  const auto work = counted.counter->Of(3);
  ASSERT_THAT(work, IsOk());
  EXPECT_EQ(work->tokens, 16 * 48);
  ASSERT_EQ(work->flops.size(), 2u);
  for (const NamedValue& module : work->flops) {
    EXPECT_DOUBLE_EQ(module.value, 16 * counted.job.model->FlopsOf(module.name, largest).training);
    EXPECT_GT(module.value, 0);
  }
}

TEST(StepWorkTest, SamplesWithoutAnImageAskNothingOfTheEncoder) {
  Counted counted({"data.mock.image_percent=0"});
  const auto work = counted.counter->Of(0);
  ASSERT_THAT(work, IsOk());
  EXPECT_EQ(work->flops[0].name, "radio_encoder");
  EXPECT_EQ(work->flops[0].value, 0);
  EXPECT_GT(work->flops[1].value, 0);
}

TEST(StepWorkTest, EverySampleOfASharedRowCounts) {
  std::vector<CaptionedImage> images;
  for (int i = 0; i < 64; ++i) {
    images.push_back({{.height = 32, .width = 24 + 8 * (i % 2)}, std::string(1 + i % 9, 'g')});
  }
  ASSERT_THAT(WriteCaptionedImages(TestFolder() / "images", images), IsOk());
  Counted counted({CaptionedImagesSetting("images"), "global_batch_size=8", "sequence_length=48",
                   "data.packing={max_patches: 128 max_images: 2 buffer_size: 16}"});
  const auto source = counted.samples.train.open().value();
  double expected = 0;
  int64_t num_samples = 0;
  for (int64_t i = 8; i < 16; ++i) {
    const data::RowSamples row = counted.samples.train.order.RowAt(i);
    for (size_t k = 0; k < row.size(); ++k) {
      SampleFacts facts;
      ASSERT_THAT(source->ReadFacts(row[k].index, facts), IsOk());
      expected += counted.job.model->FlopsOf("radio_encoder", facts).training;
      ++num_samples;
    }
  }
  ASSERT_GT(num_samples, 8);
  const auto work = counted.counter->Of(1);
  ASSERT_THAT(work, IsOk());
  EXPECT_EQ(work->flops[0].name, "radio_encoder");
  EXPECT_NEAR(work->flops[0].value, expected, 1e-9 * expected);
}

}  // namespace
}  // namespace hetero
