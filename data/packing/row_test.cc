#include "hetero/data/packing/row.h"

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/text/conversation.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int32_t kImage = 9;
constexpr int32_t kPad = 0;

EncodedText Text(const std::vector<int32_t>& ids) { return {.ids = ids, .labels = ids}; }

// Of 5, 3 and 4 tokens.
const std::vector<EncodedText> kTexts = {Text({11, 12, 13, 14, 15}), Text({21, 22, 23}),
                                         Text({31, 32, 33, 34})};

TEST(BuildRowTest, TextsPredictTheirOwnNextToken) {
  const auto row = BuildRow(kTexts, 16, kPad, kImage);
  ASSERT_THAT(row, IsOk());
  EXPECT_THAT(row->cu_seqlens, ElementsAre(0, 5, 8, 12, 16));
  EXPECT_EQ(row->max_seqlen, 5);
  EXPECT_THAT(row->ids, ElementsAre(11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 0, 0, 0, 0));
  EXPECT_THAT(row->labels, ElementsAre(12, 13, 14, 15, -100, 22, 23, -100, 32, 33, 34, -100, -100,
                                       -100, -100, -100));
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(row->loss_mask[i], row->labels[i] == kIgnoredLabel ? 0.0f : 1.0f);
    EXPECT_EQ(row->position_ids[i], static_cast<int64_t>(i));
  }
  EXPECT_THAT(BuildRow(kTexts, 12, kPad, kImage)->cu_seqlens, ElementsAre(0, 5, 8, 12));
  const auto one = BuildRow(std::span(kTexts).first(1), 16, kPad, kImage);
  ASSERT_THAT(one, IsOk());
  EXPECT_THAT(one->cu_seqlens, IsEmpty());
  EXPECT_EQ(one->labels[4], kIgnoredLabel);
}

TEST(BuildRowTest, NamesWhatDoesNotFit) {
  EXPECT_THAT(BuildRow(kTexts, 11, kPad, kImage),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("text 2 of the row has 4 tokens, 3 of 11 positions are left")));
  EXPECT_THAT(
      BuildRow(std::vector<EncodedText>{kTexts[0], Text({})}, 12, kPad, kImage),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("text 1 of the row is empty")));
}

TEST(ExpandImagesTest, ImagesHaveTheirTokensAndNoLabels) {
  const EncodedText text = Text({1, kImage, 2, kImage, 3});
  const std::vector<int64_t> tokens = {3, 2};
  const auto whole = ExpandImages(text, kImage, tokens, 100);
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->num_images, 2);
  EXPECT_THAT(whole->text.ids, ElementsAre(1, 9, 9, 9, 2, 9, 9, 3));
  EXPECT_THAT(whole->text.labels, ElementsAre(1, -100, -100, -100, 2, -100, -100, 3));
  const auto row = BuildRow(std::vector{whole->text}, 9, kPad, kImage);
  ASSERT_THAT(row, IsOk());
  EXPECT_THAT(row->loss_mask, ElementsAre(0, 0, 0, 1, 0, 0, 1, 0, 0));
}

TEST(ExpandImagesTest, AnImageThatDoesNotFitIsCutWhole) {
  const EncodedText text = Text({1, kImage, 2, kImage, 3});
  const std::vector<int64_t> tokens = {3, 2};
  for (const int64_t length : {5, 6}) {
    const auto cut = ExpandImages(text, kImage, tokens, length);
    ASSERT_THAT(cut, IsOk());
    EXPECT_EQ(cut->num_images, 1);
    EXPECT_THAT(cut->text.ids, ElementsAre(1, 9, 9, 9, 2));
  }
  EXPECT_EQ(ExpandImages(text, kImage, tokens, 7)->num_images, 2);
  EXPECT_THAT(ExpandImages(text, kImage, std::vector<int64_t>{3}, 7),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the text has 2 image markers for 1 images")));
}

}  // namespace
}  // namespace hetero::data
