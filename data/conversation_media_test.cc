// Conversations whose images lie beside the data set.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/conversation_source.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Members = std::vector<std::pair<std::string, std::string>>;  // name and bytes

std::string Png(int side) {
  Image image;
  image.Reshape({.height = side, .width = side}, 1);
  for (size_t p = 0; p < image.pixels.size(); ++p) image.pixels[p] = static_cast<uint8_t>(p * 7);
  return EncodePng(image, 0).value();
}

std::string Asks(const std::vector<std::string>& images) {
  std::string fragments;
  for (const std::string& image : images) {
    absl::StrAppendFormat(&fragments, R"({"t": "image", "value": "%s"},)", image);
  }
  return absl::StrCat(R"({"conversation": [{"sender": "user", "fragments": [)", fragments,
                      R"({"t": "text", "value": "What?"}]}, {"sender": "assistant", )"
                      R"("fragments": [{"t": "text", "value": "That."}]}]})");
}

class ConversationMediaTest : public ::testing::Test {
 protected:
  static void Write(const fs::path& shard, const Members& members) {
    fs::create_directories(shard.parent_path());
    TarWriter writer = TarWriter::Create(shard).value();
    for (const auto& [name, bytes] : members) ASSERT_THAT(writer.Add(name, bytes), IsOk());
    ASSERT_THAT(writer.Close(), IsOk());
  }

  // The same files in the shards of one data set and in one folder.
  void SetUp() override {
    root_ = FreshFolder(::testing::UnitTest::GetInstance()->current_test_info()->name());
    const Members files = {{"photos/17.png", Png(16)}, {"photos/17.b.png", Png(24)}};
    Write(root_ / "media/m.tar", files);
    ASSERT_THAT(PrepareDataset(root_ / "media", {.splits = {{"train", {"m.tar"}}},
                                                 .fields = ConversationFields(),
                                                 .exclude = {"m.tar"}}),
                IsOk());
    fs::create_directories(root_ / "files/photos");
    for (const auto& [name, bytes] : files) {
      ASSERT_THAT(WriteFileAtomically(root_ / "files" / name, bytes), IsOk());
    }
    shards_ = OpenMediaSource({.path = root_ / "media"}, {}).value();
    folder_ = OpenMediaSource({.path = root_ / "files", .is_folder = true}, {}).value();
  }

  absl::StatusOr<PrepareReport> Prepare(const Members& members,
                                        std::shared_ptr<const MediaSource> media) const {
    Write(root_ / "chats/a.tar", members);
    return PrepareDataset(root_ / "chats", {.splits = {{"train", {"a.tar"}}},
                                            .fields = ConversationFields(),
                                            .media = std::move(media)});
  }

  std::unique_ptr<ConversationSource> Source(std::shared_ptr<const MediaSource> media) const {
    const auto prompt = std::make_shared<const Prompt>(
        Prompt::Create(LoadTokenizer("data/text/testdata/nemotron.json").value(), {}).value());
    return ConversationSource::Create(
               Dataset::Open(root_ / "chats", "train", {}, {.media = std::move(media)}).value(),
               {.sequence_length = 96,
                .prompt = prompt,
                .images = SampleImages{.modality = 0,
                                       .max_count = 3,
                                       .tiling = {.patch_size = 4, .max_patches = 64}}})
        .value();
  }

  fs::path root_;
  std::shared_ptr<const MediaSource> shards_;
  std::shared_ptr<const MediaSource> folder_;
};

// Patches of samples [0, count) and the placeholders of their rows.
std::pair<MediaBatch, std::vector<int64_t>> Read(SampleSource& source, int64_t count) {
  const SampleOrder order = SampleOrder::OnePass(count).value();
  MediaBatch media;
  LanguageSample scratch;
  LanguageBatch rows;
  EXPECT_THAT(BuildMediaBatch(source, order, {0, count}, 0, media), IsOk());
  EXPECT_THAT(
      BuildLanguageBatch(source, order, {0, count},
                         {.sequence_length = 96, .vocabulary_size = 640, .placeholder_ids = {3}},
                         scratch, rows),
      IsOk());
  return {std::move(media), rows.num_placeholders};
}

TEST_F(ConversationMediaTest, RowsAndPixelsAreThoseOfImagesInTheSample) {
  const Members beside = {{"k0.json", Asks({"photos/17.png"})},
                          {"k1.json", Asks({"photos/17.b.png", "own.png", "photos/17.png"})},
                          {"k1.own.png", Png(8)}};
  const Members within = {{"k0.json", Asks({"png"})},
                          {"k0.png", Png(16)},
                          {"k1.json", Asks({"b.png", "own.png", "png"})},
                          {"k1.b.png", Png(24)},
                          {"k1.own.png", Png(8)},
                          {"k1.png", Png(16)}};
  ASSERT_THAT(Prepare(within, nullptr), IsOk());
  const auto [expected, placeholders] = Read(*Source(nullptr), 2);
  ASSERT_THAT(expected.sizes, SizeIs(4));
  for (const auto& media : {shards_, folder_}) {
    const absl::StatusOr<PrepareReport> report = Prepare(beside, media);
    ASSERT_THAT(report, IsOk());
    EXPECT_THAT(report->excluded, IsEmpty());
    const auto [read, counts] = Read(*Source(media), 2);
    EXPECT_EQ(counts, placeholders);
    EXPECT_EQ(read.num_placeholders, placeholders);
    EXPECT_EQ(read.sizes, expected.sizes);
    EXPECT_EQ(read.features, expected.features);
  }
}

// By its extension alone a member is taken for a file that is nowhere else.
TEST_F(ConversationMediaTest, AFileOfThatNameGoesBeforeAMemberOfItsExtension) {
  ASSERT_THAT(
      Prepare({{"k0.json", Asks({"photos/17.png", "photos/18.png"})}, {"k0.png", Png(8)}}, shards_),
      IsOk());
  const auto [media, placeholders] = Read(*Source(shards_), 1);
  EXPECT_THAT(media.sizes, ElementsAre(MediaSize{.height = 16, .width = 16},
                                       MediaSize{.height = 8, .width = 8}));
}

TEST_F(ConversationMediaTest, WhereNoSourceIsGivenTheReasonSaysSo) {
  const absl::StatusOr<PrepareReport> report = Prepare(
      {{"k0.json", Asks({"photos/17.png"})}, {"k1.json", Asks({"png"})}, {"k1.png", Png(8)}},
      nullptr);
  ASSERT_THAT(report, IsOk());
  ASSERT_THAT(report->excluded, SizeIs(1));
  EXPECT_THAT(report->excluded[0].reason,
              HasSubstr("\"photos/17.png\", which no member of the sample is; no media source is "
                        "given where it may lie instead (--media_source"));
}

TEST_F(ConversationMediaTest, WhatIsMissingOrDamagedIsNamedWithSampleFileAndSource) {
  const Members members = {{"k0.json", Asks({"photos/17.png"})},
                           {"k1.json", Asks({"photos/20.png"})},
                           {"k2.json", Asks({"../chats/a.tar"})}};
  const absl::StatusOr<PrepareReport> report = Prepare(members, folder_);
  ASSERT_THAT(report, IsOk());
  ASSERT_THAT(report->excluded, SizeIs(2));
  const std::string source = absl::StrCat("media source filesystem://", (root_ / "files").native());
  EXPECT_EQ(report->excluded[0].sample, "a.tar/k1");
  EXPECT_THAT(report->excluded[0].reason,
              AllOf(HasSubstr("member k1.json: conversation[0]: fragments[0]: names the image "
                              "\"photos/20.png\", which no member of the sample and no file of "),
                    HasSubstr(source)));
  EXPECT_THAT(report->excluded[1].reason, HasSubstr("is of no file in the folder"));

  ASSERT_THAT(WriteFileAtomically(root_ / "files/photos/17.png", Png(16).substr(0, 60)), IsOk());
  const auto reading = Source(folder_);
  MediaBatch media;
  EXPECT_THAT(BuildMediaBatch(*reading, SampleOrder::OnePass(1).value(), {0, 1}, 0, media),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("shard a.tar, sample k0, image \"photos/17.png\" of "),
                             HasSubstr(source),
                             HasSubstr(absl::StrCat("--prepare --media_source=filesystem://",
                                                    (root_ / "files").native())))));
}

// Storage that fails says nothing of a sample: the run ends and preparation excludes nothing.
TEST_F(ConversationMediaTest, ASourceThatVanishesIsNoFaultOfTheSample) {
  const Members members = {{"k0.json", Asks({"photos/17.png"})}};
  ASSERT_THAT(Prepare(members, shards_), IsOk());
  const std::shared_ptr<const MediaSource> unread =
      OpenMediaSource({.path = root_ / "media"}, {}).value();
  fs::remove(root_ / "media/m.tar");
  const auto vanished = StatusIs(absl::StatusCode::kNotFound, HasSubstr("shard m.tar is missing"));
  LanguageSample sample;
  EXPECT_THAT(Source(unread)->ReadLanguage(0, sample), vanished);
  EXPECT_THAT(Prepare(members, unread), vanished);
}

}  // namespace
}  // namespace hetero::data
