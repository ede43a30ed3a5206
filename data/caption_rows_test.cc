// Rows that captioned images share.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_harness.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/row_table.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Each sample stands in its row as it does in one of its own, behind those before it.
TEST_F(CaptionBatchTest, PackedRowsAreTheirSamplesOneAfterAnother) {
  CaptionOptions tiles = Canvases();
  tiles.canvases.clear();
  const auto source = Source(tiles);
  constexpr int64_t kRow = 96;
  RowFormat format = kFormat;
  format.sequence_length = kRow;
  const RowPlanOptions options = {.limits = {.length = kRow, .num_patches = 300, .num_images = 3},
                                  .buffer_size = 8,
                                  .seed = FreshSeed(),
                                  .num_modalities = 1,
                                  .patches_per_token = 4};
  const RowPlan plan = PlanRows(*source, options, {}).value();
  const SampleOrder order = SampleOrder::Packed(plan.rows, 5).value();
  std::vector<int> seen(kNumSamples, 0);
  int64_t num_tokens = 0;
  LanguageSample scratch;
  LanguageBatch row, alone;
  MediaBatch media;
  std::vector<SampleFacts> facts;
  for (int64_t n = 0; n < plan.rows->num_rows(); ++n) {
    const RowSamples samples = order.RowAt(n);
    ASSERT_LE(samples.size(), 3);
    ASSERT_THAT(BuildLanguageBatch(*source, order, {n, 1}, format, scratch, row), IsOk());
    ASSERT_THAT(BuildMediaBatch(*source, order, {n, 1}, 0, media), IsOk());
    ASSERT_THAT(ReadFacts(*source, order, {n, 1}, kRow, 1, facts), IsOk());
    const ModalityFacts& images = facts[0].modalities[0];
    EXPECT_THAT(media.num_media, ElementsAre(samples.size()));
    EXPECT_EQ(media.sizes, images.sizes);
    EXPECT_LE(media.NumFeatures(), 300);
    ASSERT_EQ(images.runs.size(), samples.size());
    std::vector<int32_t> borders;
    int64_t begin = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      const int64_t index = samples[i].index;
      ++seen[index];
      ASSERT_THAT(BuildLanguageBatch(*source, SampleOrder::OnePass(kNumSamples).value(), {index, 1},
                                     kFormat, scratch, alone),
                  IsOk());
      const int64_t length = alone.num_tokens[0];
      EXPECT_EQ(samples[i].length, length);
      EXPECT_EQ(images.runs[i].first, begin);
      EXPECT_EQ(images.runs[i].count, alone.num_placeholders[0]);
      for (int64_t t = 0; t < length; ++t) {
        EXPECT_EQ(row.tokens[begin + t], alone.tokens[t]);
        EXPECT_EQ(row.labels[begin + t], alone.labels[t]);
        EXPECT_EQ(row.loss_mask[begin + t], alone.loss_mask[t]);
      }
      if (samples.size() > 1 || i == 0) borders.push_back(static_cast<int32_t>(begin));
      begin += length;
    }
    if (samples.size() > 1 && begin < kRow) borders.push_back(static_cast<int32_t>(begin));
    borders.push_back(kRow);
    EXPECT_EQ(row.borders, borders);
    EXPECT_EQ(row.num_tokens[0], begin);
    num_tokens += begin;
  }
  EXPECT_EQ(seen, std::vector<int>(kNumSamples, 1));
  EXPECT_EQ(plan.fill_rate,
            static_cast<double>(num_tokens) / static_cast<double>(plan.rows->num_rows() * kRow));
  EXPECT_GT(plan.rows->num_rows(), kNumSamples / 4);
}

TEST_F(CaptionBatchTest, ASampleThatNoRowHoldsIsNamedAndOneThatChangedToo) {
  const auto source = Source();
  const RowPlanOptions options = {.limits = {.length = kSequence, .num_patches = 10},
                                  .num_modalities = 1,
                                  .patches_per_token = 4};
  EXPECT_THAT(PlanRows(*source, options, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a row holds 48, 10 and 0")));
  RowTable rows;
  rows.Add(std::vector<RowSample>{{.index = 1, .length = 7}});
  LanguageSample scratch;
  LanguageBatch batch;
  EXPECT_THAT(
      BuildLanguageBatch(*source, SampleOrder::Packed(std::make_shared<RowTable>(rows), 1).value(),
                         {0, 1}, kFormat, scratch, batch),
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr("k01"), HasSubstr("it had 7 when rows were planned"))));
}

}  // namespace
}  // namespace hetero::data
