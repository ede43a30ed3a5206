// The rules between data and model.

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/violation.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/feed/samples_testing.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {
namespace {

using namespace samples_testing;  // NOLINT: made for these tests
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Messages(const proto::RunConfig& config, const InputContract& contract) {
  std::vector<std::string> messages;
  for (const Violation& violation : ValidateData(config, contract)) {
    messages.push_back(violation.ToString());
  }
  return messages;
}

std::vector<std::string> FashionMessages(const std::vector<std::string>& assignments) {
  return Messages(Changed("fashion_tiny", assignments), kVision);
}

TEST(ValidateDataTest, RecipesFitTheirModels) {
  EXPECT_THAT(FashionMessages({}), IsEmpty());
  EXPECT_THAT(Messages(Changed("mock_tiny", {}), kText), IsEmpty());
}

TEST(ValidateDataTest, ConversationsFitTheModelAndItsSequence) {
  const auto with = [](std::string_view fields, const InputContract& contract,
                       std::vector<std::string> more = {"data.tokenizer=\"t.json\""}) {
    more.push_back(absl::StrCat("data.conversations={train: \"s\" ", fields, "}"));
    return Messages(Changed("mock_vlm_tiny", more), contract);
  };
  constexpr std::string_view kImages = "images: {min_patches: 4 max_patches: 64 max_count: 32}";
  EXPECT_THAT(with(kImages, kVision), IsEmpty());
  EXPECT_THAT(with("", kText), IsEmpty());
  EXPECT_THAT(with("", kVision), IsEmpty());
  EXPECT_THAT(with("", kText, {}),
              ElementsAre("data.tokenizer is not set, data.conversations are read with it; name "
                          "its file"));
  EXPECT_THAT(with("", kText,
                   {"data.tokenizer=\"t.json\"",
                    "evaluation={num_batches: 1 micro_batch_size: 4 "
                    "global_batch_size: 8}"}),
              ElementsAre("data.conversations.evaluation is not set, the run evaluates; name the "
                          "folder or remove evaluation"));
  EXPECT_THAT(with(kImages, kText),
              ElementsAre("data.conversations.images is set, the model takes none; give a model "
                          "with an encoder or remove it"));
  EXPECT_THAT(with("images: {min_patches: 4 max_patches: 500 max_count: 1}", kVision),
              ElementsAre(HasSubstr("data.conversations.images.max_patches is 500, must be at most "
                                    "256")));
  EXPECT_THAT(with("images: {min_patches: 4 max_patches: 64 max_count: 33}", kVision),
              ElementsAre("data.conversations.images.max_count is 33, must be at most 32: a row of "
                          "48 tokens holds no more beside the largest of 16; nearest: 32"));
  EXPECT_THAT(
      with("images: {min_patches: 4 max_patches: 64 max_count: 1 thumbnails: true}", kVision),
      ElementsAre("data.conversations.images.thumbnails is set, 448 pixels must be a "
                  "multiple of 8 and no more than the model's max_image_side of 64; remove "
                  "it"));
  InputContract large = kVision;
  large.max_image_side = 448;
  EXPECT_THAT(with("images: {min_patches: 4 max_patches: 64 max_count: 1 thumbnails: true}", large),
              ElementsAre("data.conversations.images.thumbnails is set, an image with a thumbnail "
                          "may take 3152 tokens, must be below sequence_length 48; remove it"));
  const auto packed = [&](std::string_view packing) {
    return with("images: {min_patches: 4 max_patches: 64 max_count: 2}", kVision,
                {"data.tokenizer=\"t.json\"", absl::StrCat("data.packing={", packing, "}")});
  };
  EXPECT_THAT(packed("max_patches: 128 max_images: 2"), IsEmpty());
  EXPECT_THAT(packed("max_patches: 128 max_images: 1"),
              ElementsAre("data.packing.max_images is 1, must be at least the 2 of a sample; "
                          "nearest: 2"));
  EXPECT_THAT(packed("max_patches: 127 max_images: 2"),
              ElementsAre("data.packing.max_patches is 127, must be at least the 128 that images "
                          "of a sample may have; nearest: 128"));
}

TEST(ValidateDataTest, ATextOfOneTokenHasNothingToPredict) {
  EXPECT_THAT(Messages(Changed("mock_tiny", {"sequence_length=1"}), kText),
              ElementsAre("sequence_length is 1, must be at least 2: the first token of a text is "
                          "never predicted, so no step would have a loss; nearest: 2"));
  EXPECT_THAT(Messages(Changed("mock_tiny", {"sequence_length=2"}), kText), IsEmpty());
}

TEST(ValidateDataTest, NamesFieldValueRuleAndNearest) {
  EXPECT_THAT(FashionMessages({"data.pad_token_id=511"}),
              ElementsAre("data.pad_token_id is 511, which is the model's image token; nearest: "
                          "510"));
  EXPECT_THAT(FashionMessages({"data.fashion_mnist.end_token_id=600"}),
              ElementsAre("data.fashion_mnist.end_token_id is 600, must be below the model's "
                          "vocabulary of 512; nearest: 510"));
  EXPECT_THAT(FashionMessages({"data.fashion_mnist.end_token_id=65"}),
              ElementsAre("data.fashion_mnist.end_token_id is 65, must not be the id of a byte; "
                          "nearest: 256"));
  EXPECT_THAT(
      FashionMessages({"data.fashion_mnist.sizes[0].rows=36",
                       "data.fashion_mnist.sizes[1].columns=16",
                       "data.fashion_mnist.sizes[2].rows=80", "sequence_length=64"}),
      ElementsAre("data.fashion_mnist.sizes[0].rows is 36 pixels, must be a multiple of 8 "
                  "from 32 to 64 (the model's patches, the photograph, the model's largest "
                  "side); nearest: 40",
                  HasSubstr("sizes[1].columns is 16 pixels"),
                  AllOf(HasSubstr("sizes[2].rows is 80 pixels"), HasSubstr("nearest: 64"))));
  EXPECT_THAT(
      FashionMessages({"sequence_length=35"}),
      ElementsAre("sequence_length is 35, must be at least 36 (24 image tokens, the longest "
                  "caption, an end); nearest: 36"));
  EXPECT_THAT(Messages(Changed("fashion_tiny", {}), kText),
              ElementsAre(HasSubstr("data.fashion_mnist has images, the model takes none")));
}

TEST(ValidateDataTest, ATokenizerIsForCaptionsOfShards) {
  const std::string web =
      "data.web_dataset={train: \"shards\" evaluation: \"shards\" min_patches: 8 max_patches: 100 "
      "end_token_id: 2}";
  EXPECT_THAT(FashionMessages({web}),
              ElementsAre(HasSubstr("end_token_id is 2, must not be the id of a byte")));
  EXPECT_THAT(FashionMessages({web, "data.tokenizer=tokenizer.json"}), IsEmpty());
  EXPECT_THAT(FashionMessages({"data.tokenizer=tokenizer.json"}),
              ElementsAre("data.tokenizer is set, only data.conversations and the captions of "
                          "data.web_dataset are read with it; remove it"));
}

TEST(ValidateDataTest, RowsOfSeveralSamplesHoldTheLargestImageAndATokenOfEachOther) {
  const auto with = [](std::string_view packing) {
    return FashionMessages({absl::StrCat("data.packing={", packing, "}")});
  };
  // 24 tokens and 96 patches of the largest image, 48 positions.
  EXPECT_THAT(with("max_patches: 100 max_images: 2"), IsEmpty());
  EXPECT_THAT(with("max_patches: 99 max_images: 2"),
              ElementsAre("data.packing.max_patches is 99, must be at least 100: 96 of the largest "
                          "image and 4 of each other of data.packing.max_images; nearest: 100"));
  EXPECT_THAT(with("max_patches: 1000 max_images: 25"), IsEmpty());
  EXPECT_THAT(with("max_patches: 1000 max_images: 26"),
              ElementsAre("data.packing.max_images is 26, must be at most 25: a row of 48 tokens "
                          "holds no more beside the largest of 24; nearest: 25"));
  EXPECT_THAT(
      Messages(Changed("mock_tiny", {"data.packing={max_patches: 9 max_images: 1}"}), kText),
      ElementsAre("data.packing is set, samples of data.mock have a row each; remove it"));
}

TEST(ValidateDataTest, ChecksSizesOfMockImages) {
  const auto messages = [](const std::string& mock) {
    return Messages(Changed("mock_vlm_tiny", {"data.mock={" + mock + "}"}), kVision);
  };
  EXPECT_THAT(messages("num_image_tokens: 13 max_images: 3 min_image_patches: 1 "
                       "max_image_patches: 52"),
              IsEmpty());
  EXPECT_THAT(messages("num_image_tokens: 16 max_images: 2"),
              ElementsAre("data.mock.max_image_patches is not set, images of differing sizes need "
                          "max_images, min_image_patches and max_image_patches; nearest: 64",
                          "data.mock.min_image_patches is not set, images of differing sizes need "
                          "max_images, min_image_patches and max_image_patches; nearest: 4"));
  EXPECT_THAT(messages("num_image_tokens: 16 min_image_patches: 70 max_image_patches: 68"),
              ElementsAre(HasSubstr("data.mock.max_images is not set"),
                          "data.mock.max_image_patches is 68, must be at most 64: what "
                          "data.mock.num_image_tokens and the model's max_image_side of 64 have "
                          "room for; nearest: 64",
                          "data.mock.min_image_patches is 70, must be at most 64, the whole tokens "
                          "of data.mock.max_image_patches; nearest: 64"));
  EXPECT_THAT(messages("num_image_tokens: 16 max_images: 1 min_image_patches: 2 "
                       "max_image_patches: 3"),
              ElementsAre("data.mock.max_image_patches is 3, must be at least the 4 patches of a "
                          "token; nearest: 4"));
  EXPECT_THAT(messages("num_image_tokens: 0 min_image_patches: 4"),
              ElementsAre("data.mock.min_image_patches is set, but data.mock.num_image_tokens is "
                          "0: there are no images; remove it"));
}

TEST(ValidateDataTest, LoadersReadShardsAndSingleSamples) {
  constexpr std::string_view kOrder = "data.energon_order={num_workers: 2}";
  EXPECT_THAT(FashionMessages({std::string(kOrder)}), IsEmpty());
  EXPECT_THAT(Messages(Changed("mock_tiny", {std::string(kOrder)}), kText),
              ElementsAre("data.energon_order is set, samples of data.mock are in no shards; "
                          "remove it"));
  EXPECT_THAT(
      FashionMessages({std::string(kOrder), "data.packing={max_patches: 100 max_images: 2}"}),
      ElementsAre("data.packing is set beside data.energon_order, whose batches are of single "
                  "samples; remove one of them"));
}

TEST(ValidateDataTest, ChecksMockSamples) {
  EXPECT_THAT(Messages(Changed("mock_tiny", {"data.mock.num_image_tokens=16"}), kText),
              ElementsAre("data.mock.num_image_tokens is 16, the model takes no images; "
                          "nearest: 0"));
  EXPECT_THAT(Messages(Changed("mock_tiny", {"data.mock.num_image_tokens=64"}), kVision),
              ElementsAre("data.mock.num_image_tokens is 64, must be below sequence_length "
                          "64; nearest: 56"));
  EXPECT_THAT(Messages(Changed("mock_tiny", {"data.mock.num_image_tokens=31"}), kVision),
              ElementsAre(HasSubstr("does not fit the model's 64 x 64 pixels; nearest: 30")));
  EXPECT_THAT(
      Messages(Changed("mock_tiny", {"data.mock.text_vocabulary=1000"}), kVision),
      ElementsAre(HasSubstr("must be at most the model's vocabulary of 512; nearest: 512")));
}

std::vector<std::string> ClipMessages(const std::vector<std::string>& assignments) {
  return Messages(Changed("mock_avlm_tiny", assignments), kHearing);
}

TEST(ValidateDataTest, ClipsAndImagesShareASequence) {
  EXPECT_THAT(ClipMessages({}), IsEmpty());
  EXPECT_THAT(ClipMessages({"sequence_length=41"}), IsEmpty());
  EXPECT_THAT(ClipMessages({"sequence_length=40"}),
              ElementsAre("data.mock.max_clip_frames is 48, a clip of so many takes 24 tokens; "
                          "sequence_length 40 leaves 23 beside images and a token of text; "
                          "nearest: data.mock.max_clip_frames 46 or sequence_length 41"));
  EXPECT_THAT(ClipMessages({"sequence_length=17"}),
              ElementsAre("data.mock.max_clip_frames is 48, a clip of so many takes 24 tokens; "
                          "sequence_length 17 leaves 0 beside images and a token of text; "
                          "nearest: sequence_length 41"));
  // What clips take is not there for images.
  EXPECT_THAT(ClipMessages({"data.mock.num_image_tokens=64"}),
              ElementsAre("data.mock.num_image_tokens is 64, must be below sequence_length 64; "
                          "nearest: 36"));
  EXPECT_THAT(ClipMessages({"data.mock.num_image_tokens=31", "sequence_length=50"}),
              ElementsAre(HasSubstr("does not fit the model's 64 x 64 pixels; nearest: 25"),
                          HasSubstr("leaves 18 beside images")));
}

TEST(ValidateDataTest, ClipsHaveTheFramesThatTheModelTakes) {
  EXPECT_THAT(ClipMessages({"data.mock.max_clip_frames=65", "sequence_length=64"}),
              ElementsAre("data.mock.max_clip_frames is 65, must be at most the model's max_frames "
                          "64; nearest: 64"));
  EXPECT_THAT(ClipMessages({"data.mock.min_clip_frames=49"}),
              ElementsAre("data.mock.min_clip_frames is 49, must be at most "
                          "data.mock.max_clip_frames 48; nearest: 48"));
  EXPECT_THAT(Messages(Changed("mock_avlm_tiny", {}), kVision),
              ElementsAre(HasSubstr("data.mock.max_clip_frames is set, the model takes no clips")));
}

// What decides nothing is not taken in silence.
TEST(ValidateDataTest, AShareOfNothingIsRefused) {
  EXPECT_THAT(ClipMessages({"data.mock.num_image_tokens=0"}),
              ElementsAre("data.mock.image_percent is 60, but data.mock.num_image_tokens is 0: "
                          "there are no images; nearest: 0"));
  EXPECT_THAT(ClipMessages({"data.mock.num_image_tokens=0", "data.mock.image_percent=0"}),
              IsEmpty());
  const std::string no_clips = "data.mock={num_image_tokens: 16 clip_percent: ";
  EXPECT_THAT(ClipMessages({no_clips + "60}"}),
              ElementsAre("data.mock.clip_percent is 60, but data.mock.max_clip_frames is not set: "
                          "there are no clips; nearest: 0"));
  EXPECT_THAT(ClipMessages({no_clips + "0}"}), IsEmpty());
  EXPECT_THAT(ClipMessages({"data.mock={num_image_tokens: 16 min_clip_frames: 4}"}),
              ElementsAre("data.mock.max_clip_frames is not set, clips have from min_clip_frames "
                          "to max_clip_frames frames; nearest: 4"));
  EXPECT_THAT(ClipMessages({"data.mock={num_image_tokens: 16 max_clip_frames: 4}"}),
              ElementsAre("data.mock.min_clip_frames is not set, clips have from min_clip_frames "
                          "to max_clip_frames frames; nearest: 4"));
}

TEST(ValidateDataTest, NoOtherTokenIsAPlaceholder) {
  EXPECT_THAT(ClipMessages({"data.pad_token_id=510"}),
              ElementsAre("data.pad_token_id is 510, which is the model's audio token; nearest: "
                          "509"));
  EXPECT_THAT(ClipMessages({"data.pad_token_id=511"}), ElementsAre(HasSubstr("nearest: 509")));
  InputContract bytes = kHearing;
  bytes.audio_token_id = 65;
  EXPECT_THAT(Messages(Changed("fashion_tiny", {}), bytes),
              ElementsAre("data.fashion_mnist writes bytes as ids below 256, the model's audio "
                          "token is 65; give a model whose audio token is at least 256"));
}

TEST(ValidateDataTest, ChecksWebDatasets) {
  const std::string web =
      "data.web_dataset={train: \"shards\" min_patches: 8 max_patches: 100 "
      "end_token_id: 256}";
  EXPECT_THAT(FashionMessages({web}),
              ElementsAre(HasSubstr("data.web_dataset.evaluation is not set, the run evaluates")));
  EXPECT_THAT(FashionMessages(
                  {web, "data.web_dataset.evaluation=shards", "data.web_dataset.min_patches=150"}),
              ElementsAre(HasSubstr("max_patches is 100, must be at least")));
  EXPECT_THAT(
      FashionMessages({web, "data.web_dataset.evaluation=shards",
                       "data.web_dataset.max_patches=256", "data.web_dataset.min_patches=200"}),
      ElementsAre(HasSubstr("no image of so many patches fits the sequence length 48")));
  EXPECT_THAT(FashionMessages(
                  {web, "data.web_dataset.evaluation=shards", "data.web_dataset.max_patches=1024"}),
              ElementsAre("data.web_dataset.max_patches is 1024, must be at most 256, the patches "
                          "of the model's largest image (max_image_side: 64); nearest: 256"));
  EXPECT_THAT(FashionMessages(
                  {web, "data.web_dataset.evaluation=shards", "data.web_dataset.max_patches=256"}),
              IsEmpty());
}

// 36 of 48 places are for the 4, 9, 16 or 36 tokens of a tile of 16, 24, 32 or 48 pixels.
TEST(ValidateDataTest, TilesAreWholeTokensAndFitTheSequence) {
  const auto web = [](std::string_view tiles) {
    return FashionMessages(
        {absl::StrCat("data.web_dataset={train: \"s\" evaluation: \"s\" "
                      "end_token_id: 256 tiles: {",
                      tiles, "}}")});
  };
  EXPECT_THAT(web("tile_size: 16 max_tiles: 12 thumbnail: true"), IsEmpty());
  EXPECT_THAT(web("tile_size: 48 max_tiles: 1"), IsEmpty());
  EXPECT_THAT(web("tile_size: 20 max_tiles: 4"),
              ElementsAre("data.web_dataset.tiles.tile_size is 20, must be a multiple of 8 pixels, "
                          "a token's side, of at most 48: the model's largest side "
                          "(max_image_side) is 64 pixels, and one tile and a token of text fit "
                          "sequence_length 48; nearest: 24"));
  EXPECT_THAT(web("tile_size: 56 max_tiles: 4"), ElementsAre(HasSubstr("nearest: 48")));
  EXPECT_THAT(web("tile_size: 1 max_tiles: 4"), ElementsAre(HasSubstr("nearest: 8")));
  EXPECT_THAT(web("tile_size: 16 max_tiles: 1 thumbnail: true"),
              ElementsAre("data.web_dataset.tiles.thumbnail is set, and an image of one tile "
                          "(data.web_dataset.tiles.max_tiles 1) has none; remove it"));
  EXPECT_THAT(
      FashionMessages({"data.web_dataset={train: \"s\" evaluation: \"s\" end_token_id: 256 "
                       "min_patches: 4 max_patches: 64 tiles: {tile_size: 16 max_tiles: 4}}"}),
      ElementsAre("data.web_dataset.min_patches is set beside data.web_dataset.tiles, an image has "
                  "the patches of its tiles; remove it",
                  HasSubstr("data.web_dataset.max_patches is set beside")));
  EXPECT_THAT(
      FashionMessages({"data.web_dataset={train: \"s\" evaluation: \"s\" end_token_id: 256}"}),
      ElementsAre("data.web_dataset.min_patches is not set, images without tiles have at least so "
                  "many patches; nearest: 4",
                  "data.web_dataset.max_patches is not set, images without tiles have at most so "
                  "many patches; nearest: 188"));

  const auto conversations = [](std::string_view images, std::string_view more = "seed=1") {
    return Messages(
        Changed("mock_vlm_tiny",
                {"data.tokenizer=\"t.json\"", std::string(more),
                 absl::StrCat("data.conversations={train: \"s\" images: {", images, "}}")}),
        kVision);
  };
  EXPECT_THAT(conversations("tiles: {tile_size: 16 max_tiles: 6} max_count: 11"), IsEmpty());
  EXPECT_THAT(conversations("tiles: {tile_size: 16 max_tiles: 6} max_count: 12"),
              ElementsAre("data.conversations.images.max_count is 12, must be at most 11: a row of "
                          "48 tokens holds no more tiles of 4; nearest: 11"));
  EXPECT_THAT(
      conversations("tiles: {tile_size: 16 max_tiles: 6} max_count: 2 thumbnails: true"),
      ElementsAre("data.conversations.images.thumbnails is set beside "
                  "data.conversations.images.tiles, which have tiles.thumbnail; remove it"));
  constexpr std::string_view kTwo = "tiles: {tile_size: 16 max_tiles: 2} max_count: 2";
  EXPECT_THAT(conversations(kTwo, "data.packing={max_patches: 64 max_images: 4}"), IsEmpty());
  EXPECT_THAT(conversations(kTwo, "data.packing={max_patches: 64 max_images: 3}"),
              ElementsAre("data.packing.max_images is 3, must be at least the 4 of a sample; "
                          "nearest: 4"));
  EXPECT_THAT(conversations(kTwo, "data.packing={max_patches: 63 max_images: 4}"),
              ElementsAre("data.packing.max_patches is 63, must be at least the 64 that images of "
                          "a sample may have; nearest: 64"));
  EXPECT_THAT(conversations(kTwo, "data.packing={max_patches: 999 max_images: 13}"),
              ElementsAre(HasSubstr("data.packing.max_images is 13, must be at most 12")));
}

TEST(ValidateDataTest, AModelTooSmallForThePhotographsIsCalledThat) {
  InputContract small = kVision;
  small.max_image_side = 24;
  EXPECT_THAT(
      Messages(Changed("fashion_tiny", {"data.fashion_mnist.sizes=[]",
                                        "data.fashion_mnist.sizes[0]={rows: 24 columns: 32}"}),
               small),
      ElementsAre("data.fashion_mnist.sizes[0].rows is 24 pixels; a photograph and whole "
                  "patches need 32, the model takes images of at most 24 a side "
                  "(max_image_side); give a model that takes at least 32",
                  HasSubstr("sizes[0].columns is 32 pixels")));
}

}  // namespace
}  // namespace hetero
