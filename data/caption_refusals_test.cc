// Captioned images that cannot be read, or that do not fit a run.

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_harness.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/image/tiles.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/webdataset/dataset.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(CaptionBatchTest, PixelDamageStopsTheEncoderAndNamesTheMember) {
  Damage("k05", "png");
  const SampleOrder order = SampleOrder::OnePass(kNumSamples).value();
  const auto source = Source();
  MediaBatch pixels;
  EXPECT_THAT(BuildMediaBatch(*source, order, {.begin = 0, .size = 4}, 0, pixels), IsOk());
  EXPECT_THAT(
      BuildMediaBatch(*source, order, {.begin = 4, .size = 2}, 0, pixels),
      StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("shard a.tar"), HasSubstr("sample k05"),
                                                  HasSubstr("member k05.png"))));
  // Language ranks never look at pixels; they learn of the failure from the communicators.
  LanguageSample scratch;
  LanguageBatch rows;
  EXPECT_THAT(BuildLanguageBatch(*source, order, {.begin = 0, .size = 12}, kFormat, scratch, rows),
              IsOk());
}

TEST_F(CaptionBatchTest, LongCaptionsAreRefusedByKeyLengthAndLimit) {
  CaptionOptions options = Canvases();
  options.sequence_length = 30;  // 24 image tokens leave 6: k04 needs 5 + 1, k05 6 + 1
  const auto source = Source(options);
  LanguageSample sample;
  EXPECT_THAT(source->ReadLanguage(4, sample), IsOk());
  const auto refused =
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("k05"), HasSubstr("24 image tokens and 7 text"), HasSubstr("30")));
  EXPECT_THAT(source->ReadLanguage(5, sample), refused);
  MediaBatch batch;
  batch.Clear(48);
  batch.BeginSample();
  EXPECT_THAT(source->ReadMedia(5, 0, batch), refused);

  LanguageBatch rows;
  EXPECT_THAT(BuildLanguageBatch(*Source(), SampleOrder::OnePass(kNumSamples).value(),
                                 {.begin = 5, .size = 1},
                                 {.sequence_length = 30, .vocabulary_size = 512}, sample, rows),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("a.tar/k05"), HasSubstr("31 positions"),
                             HasSubstr("length is 30"))));
}

TEST_F(CaptionBatchTest, ATokenOutsideTheVocabularyIsNamedWithItsSample) {
  LanguageSample sample;
  LanguageBatch rows;
  RowFormat format = kFormat;
  format.vocabulary_size = 'z';  // the captions' letters are below, their end is not
  EXPECT_THAT(
      BuildLanguageBatch(*Source(), SampleOrder::OnePass(kNumSamples).value(),
                         {.begin = 3, .size = 2}, format, sample, rows),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("a.tar/k03"), HasSubstr("has the id 256"), HasSubstr("0 to 121"))));
}

TEST_F(CaptionBatchTest, OptionsAreCheckedByName) {
  const auto dataset = Dataset::Open(root_, "train").value();
  CaptionOptions options = Canvases();
  options.canvases[1].width = 44;
  EXPECT_THAT(CaptionSource::Create(dataset, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiples of 8")));
  options = Canvases();
  options.canvases.clear();
  options.tiling.tiles = TileOptions{.size = 20, .max_tiles = 4};
  EXPECT_THAT(CaptionSource::Create(dataset, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tiling: tiles: size is 20 pixels; it is a multiple of 8")));
  options.tiling.tiles->size = 16;
  options.tiling.thumbnails = true;
  EXPECT_THAT(CaptionSource::Create(dataset, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tiles.thumbnail")));
  options = Canvases();
  options.canvases[2] = {.height = 24, .width = 32};
  LanguageSample sample;
  EXPECT_THAT(CaptionSource::Create(dataset, options).value()->ReadLanguage(2, sample),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("k02.png"), HasSubstr("28 x 28"))));
}

}  // namespace
}  // namespace hetero::data
