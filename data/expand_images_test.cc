#include "hetero/data/expand_images.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/row_table.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/text/conversation.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int32_t kImage = 9;

EncodedText Text(const std::vector<int32_t>& ids) { return {.ids = ids, .labels = ids}; }

LanguageSample Expanded(const EncodedText& text, const std::vector<int64_t>& counts,
                        int64_t max_length) {
  LanguageSample sample = {.name = "sample", .media = {}, .text = {99}, .labels = {99}};
  EXPECT_THAT(
      ExpandImages(text, {.marker = kImage, .modality = 0, .counts = counts}, max_length, sample),
      IsOk());
  return sample;
}

TEST(ExpandImagesTest, ImagesHaveTheirTokensAndNoLabels) {
  const LanguageSample sample = Expanded(Text({1, kImage, 2, kImage, 3}), {3, 2}, 100);
  EXPECT_THAT(sample.media, ElementsAre(MediaRun{.modality = 0, .tokens = {1, 3}},
                                        MediaRun{.modality = 0, .tokens = {5, 2}}));
  EXPECT_THAT(sample.text, ElementsAre(1, 2, 3));
  EXPECT_THAT(sample.labels, ElementsAre(1, 2, 3));
  EXPECT_EQ(sample.NumTokens(), 8);
}

TEST(ExpandImagesTest, AnImageThatDoesNotFitIsCutWhole) {
  const EncodedText text = Text({1, kImage, 2, kImage, 3});
  for (const int64_t length : {5, 6}) {
    const LanguageSample cut = Expanded(text, {3, 2}, length);
    EXPECT_THAT(cut.media, ElementsAre(MediaRun{.modality = 0, .tokens = {1, 3}}));
    EXPECT_THAT(cut.text, ElementsAre(1, 2));
  }
  EXPECT_EQ(Expanded(text, {3, 2}, 7).media.size(), 2);
  EXPECT_THAT(Expanded(text, {3, 2}, 3).media, IsEmpty());
  LanguageSample sample;
  EXPECT_THAT(ExpandImages(text, {.marker = kImage, .modality = 0, .counts = {}}, 7, sample),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the text has 2 image markers for 0 images")));
}

// Samples whose tokens are given.
class GivenSource : public SampleSource {
 public:
  explicit GivenSource(std::vector<LanguageSample> samples) : samples_(std::move(samples)) {}

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  int64_t feature_width(int) const override { return 1; }
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override {
    out = samples_[index];
    return absl::OkStatus();
  }
  absl::Status ReadMedia(int64_t, int, MediaBatch&) override { return absl::OkStatus(); }
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    for (const MediaRun& run : samples_[index].media) {
      AddPlaceholders(run.tokens, FactsOf(facts, run.modality));
    }
    return absl::OkStatus();
  }

 private:
  std::vector<LanguageSample> samples_;
};

// The next token of the same sample is predicted where it is text that is trained on, also from an
// image's last row; facts tell where images stand in the row that samples share.
TEST(BuildLanguageBatchTest, ImagesStandAnywhereAndLabelsSayWhatIsTrainedOn) {
  EncodedText asked = {.ids = {11, kImage, kImage, 12, 13, kImage},
                       .labels = {-100, -100, -100, 12, -100, -100}};
  EncodedText told = {.ids = {kImage, 21, 22, 23}, .labels = {-100, 21, 22, 23}};
  GivenSource source({Expanded(asked, {2, 1, 2}, 100), Expanded(told, {2}, 100)});
  RowTable table;
  table.Add(std::vector<RowSample>{{.index = 0, .length = 8}, {.index = 1, .length = 5}});
  const SampleOrder order = SampleOrder::Packed(std::make_shared<RowTable>(table), 1).value();
  LanguageSample scratch;
  LanguageBatch row;
  ASSERT_THAT(
      BuildLanguageBatch(
          source, order, {0, 1},
          {.sequence_length = 16, .vocabulary_size = 64, .placeholder_ids = {63}, .pad_id = 5},
          scratch, row),
      IsOk());
  EXPECT_THAT(row.tokens, ElementsAre(11, 63, 63, 63, 12, 13, 63, 63, 63, 63, 21, 22, 23, 5, 5, 5));
  EXPECT_THAT(row.labels, ElementsAre(-100, -100, -100, 12, -100, -100, -100, -100, -100, 21, 22,
                                      23, -100, -100, -100, -100));
  for (size_t t = 0; t < 16; ++t) {
    EXPECT_EQ(row.loss_mask[t], row.labels[t] == kIgnoredLabel ? 0.0f : 1.0f);
  }
  EXPECT_EQ(row.num_loss_tokens, 4);
  EXPECT_EQ(row.num_placeholders[0], 7);
  EXPECT_THAT(row.borders, ElementsAre(0, 8, 13, 16));
  std::vector<SampleFacts> facts;
  ASSERT_THAT(ReadFacts(source, order, {0, 1}, 16, 1, facts), IsOk());
  EXPECT_EQ(facts[0].modalities[0].num_tokens, 7);
  EXPECT_THAT(facts[0].modalities[0].runs, ElementsAre(IndexRange{1, 3}, IndexRange{6, 4}));
}

}  // namespace
}  // namespace hetero::data
