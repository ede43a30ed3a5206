// Samples in quarantine are padding in rows, and all others stay where they are.

#include "hetero/data/quarantine.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/row_table.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int32_t kImage = 9;
constexpr int32_t kPad = 0;
constexpr int64_t kBad = 2;

// Sample i is an image of two tokens and i + 1 text tokens 10 + i. Sample kBad cannot be read.
class NumberedSource : public SampleSource {
 public:
  int64_t size() const override { return 5; }
  int64_t feature_width(int) const override { return 1; }
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override {
    if (index == kBad) return absl::DataLossError("bad text");
    out.name = absl::StrCat(index);
    out.media = {{.modality = 0, .tokens = {0, 2}}};
    out.text.assign(static_cast<size_t>(index + 1), static_cast<int32_t>(10 + index));
    out.labels = out.text;
    return absl::OkStatus();
  }
  absl::Status ReadMedia(int64_t index, int, MediaBatch& out) override {
    if (index == kBad) return absl::DataLossError("bad image");
    out.Add({.height = 1, .width = 2}, 2, 2)[0] = static_cast<float>(index);
    return absl::OkStatus();
  }
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    if (index == kBad) return absl::DataLossError("bad header");
    FactsOf(facts, 0).sizes = {{.height = 1, .width = 2}};
    AddPlaceholders({0, 2}, facts.modalities[0]);
    return absl::OkStatus();
  }
};

class QuarantineTest : public ::testing::Test {
 protected:
  std::shared_ptr<Quarantine> quarantine_ = std::make_shared<Quarantine>();
  QuarantinedSource source_{std::make_unique<NumberedSource>(), quarantine_};
  const RowFormat format_ = {
      .sequence_length = 16, .vocabulary_size = 32, .placeholder_ids = {kImage}, .pad_id = kPad};
  LanguageSample scratch_;
  LanguageBatch rows_;
};

TEST_F(QuarantineTest, ASampleIsAnErrorUntilItIsInQuarantine) {
  SampleFacts facts;
  MediaBatch media;
  media.Clear(1);
  media.BeginSample();
  EXPECT_THAT(source_.ReadLanguage(kBad, scratch_), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_TRUE(quarantine_->Add(kBad));
  EXPECT_FALSE(quarantine_->Add(kBad));
  EXPECT_THAT(source_.ReadLanguage(kBad, scratch_), IsOk());
  EXPECT_EQ(scratch_.NumTokens(), 0);
  EXPECT_THAT(source_.ReadFacts(kBad, facts), IsOk());
  EXPECT_THAT(facts.modalities, IsEmpty());
  EXPECT_THAT(source_.ReadMedia(kBad, 0, media), IsOk());
  EXPECT_EQ(media.NumFeatures(), 0);
}

TEST_F(QuarantineTest, ARowOfItsOwnIsPaddingWithoutLoss) {
  quarantine_->Add(kBad);
  const SampleOrder order = SampleOrder::OnePass(5).value();
  ASSERT_THAT(BuildLanguageBatch(source_, order, {kBad, 1}, format_, scratch_, rows_), IsOk());
  EXPECT_THAT(rows_.tokens, Each(kPad));
  EXPECT_THAT(rows_.loss_mask, Each(0.0f));
  EXPECT_EQ(rows_.num_loss_tokens, 0);
  EXPECT_THAT(rows_.num_tokens, ElementsAre(0));
}

// The row was planned when the sample could be read. What stands behind it in the row does not
// move, and facts say the same places.
TEST_F(QuarantineTest, InASharedRowItLeavesAGap) {
  auto table = std::make_shared<RowTable>();
  table->Add(std::vector<RowSample>{
      {.index = 1, .length = 4}, {.index = kBad, .length = 5}, {.index = 0, .length = 3}});
  const SampleOrder order = SampleOrder::Packed(table, 1).value();
  quarantine_->Add(kBad);
  ASSERT_THAT(BuildLanguageBatch(source_, order, {0, 1}, format_, scratch_, rows_), IsOk());
  EXPECT_THAT(rows_.tokens, ElementsAre(kImage, kImage, 11, 11, kPad, kPad, kPad, kPad, kPad,
                                        kImage, kImage, 10, kPad, kPad, kPad, kPad));
  EXPECT_THAT(rows_.borders, ElementsAre(0, 4, 9, 12, 16));
  EXPECT_EQ(rows_.num_loss_tokens, 3);
  std::vector<SampleFacts> facts;
  ASSERT_THAT(ReadFacts(source_, order, {0, 1}, 16, 1, facts), IsOk());
  EXPECT_THAT(facts[0].modalities[0].runs, ElementsAre(IndexRange{0, 2}, IndexRange{9, 2}));
  EXPECT_EQ(facts[0].modalities[0].num_tokens, 4);
}

TEST_F(QuarantineTest, APlanOfRowsLeavesItOut) {
  quarantine_->Add(kBad);
  const RowPlan plan = PlanRows(source_,
                                {.limits = {.length = 16, .num_patches = 64, .num_images = 8},
                                 .num_modalities = 1,
                                 .patches_per_token = 1},
                                {})
                           .value();
  std::vector<int64_t> planned;
  for (int64_t row = 0; row < plan.rows->num_rows(); ++row) {
    for (const RowSample& sample : (*plan.rows)[row]) planned.push_back(sample.index);
  }
  EXPECT_THAT(planned, UnorderedElementsAre(0, 1, 3, 4));
}

}  // namespace
}  // namespace hetero::data
