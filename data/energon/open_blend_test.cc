// Metadatasets of real folders: what a loader reads is the sample that it names.

#include "hetero/data/energon/open_blend.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class OpenBlendTest : public ::testing::Test {
 protected:
  void SetUp() override { root_ = FreshFolder("blend"); }

  // Texts "NAME SHARD INDEX" in shards of these sizes.
  void Write(const std::string& name, const std::vector<int>& shards,
             const std::vector<std::string>& exclude = {}) {
    const fs::path folder = root_ / name;
    fs::create_directories(folder);
    std::vector<std::string> names;
    for (size_t s = 0; s < shards.size(); ++s) {
      names.push_back(absl::StrFormat("%d.tar", s));
      TarWriter writer = TarWriter::Create(folder / names.back()).value();
      for (int i = 0; i < shards[s]; ++i) {
        ASSERT_THAT(writer.Add(absl::StrFormat("k%d_%d.txt", s, i),
                               absl::StrCat(name, " ", names.back(), " ", i)),
                    IsOk());
      }
      ASSERT_THAT(writer.Close(), IsOk());
    }
    ASSERT_THAT(
        PrepareDataset(folder, {.splits = {{"train", names}}, .fields = TextFields{.text = "txt"}}),
        IsOk());
    if (exclude.empty()) return;
    SplitConfig config = {.parts = {{"train", names}}, .exclude = exclude};
    ASSERT_THAT(
        WriteFileAtomically(folder / kMetadataFolder / kSplitFile, FormatSplitConfig(config)),
        IsOk());
  }

  fs::path Meta(const std::string& train) {
    const fs::path path = root_ / "meta.yaml";
    EXPECT_THAT(WriteFileAtomically(path, absl::StrCat("__module__: megatron.energon\n"
                                                       "__class__: MetadatasetV2\n"
                                                       "splits:\n  train: ",
                                                       train, "\n")),
                IsOk());
    return path;
  }

  fs::path root_;
};

// By its number in the run; the parts have them one behind the other.
std::string TextOf(const OpenedBlend& blend, int64_t index) {
  for (size_t k = 0; k < blend.parts.size(); ++k) {
    const IndexRange samples = blend.parts[k].samples();
    if (index - blend.begins[k] >= samples.count) continue;
    RawSample sample;
    EXPECT_THAT(blend.parts[k].dataset()->Read(samples.first + index - blend.begins[k], sample),
                IsOk());
    return std::string(sample.parts.at(0).bytes);
  }
  return "none";
}

TEST_F(OpenBlendTest, PlacesAreTheSamplesThatTheyName) {
  // A shard and two samples are passed over.
  Write("a", {3, 4, 5}, {"1.tar", "0.tar/k0_1", "2.tar/k2_0"});
  Write("b", {6, 4});
  const auto blend = OpenBlend(Meta("{blend: [{weight: 3, path: a}, {weight: 1, path: b, subset: "
                                    "{range: [50%, 90%]}}]}"),
                               "train", {}, false)
                         .value();
  EXPECT_EQ(blend->mode, BlendMode::kWeights);
  ASSERT_EQ(blend->parts.size(), 2);
  EXPECT_EQ(blend->parts[0].samples().count, 6);
  EXPECT_EQ(blend->parts[1].samples().count, 4);
  std::set<int64_t> numbers;
  for (size_t k = 0; k < 2; ++k) {
    const SplitSamples& split = blend->splits[k].samples;
    for (int64_t place = split.range().first; place < split.range().end(); ++place) {
      if (std::ranges::count(split.excluded, place) > 0) continue;
      const ShardSample at = split.Find(place);
      const int64_t number = blend->IndexOf({.data_set = static_cast<int64_t>(k), .place = place});
      numbers.insert(number);
      EXPECT_EQ(TextOf(*blend, number),
                absl::StrCat(k == 0 ? "a " : "b ", at.shard, " ", at.index));
    }
  }
  EXPECT_EQ(numbers.size(), 10);
  EXPECT_EQ(*numbers.begin(), 0);
  EXPECT_EQ(*numbers.rbegin(), 9);
}

TEST_F(OpenBlendTest, ConversationsOfAMetadatasetHaveTheirMediaSource) {
  Write("media", {2});
  for (const char* const name : {"chats", "more"}) {
    const fs::path folder = root_ / name;
    fs::create_directories(folder);
    TarWriter writer = TarWriter::Create(folder / "0.tar").value();
    ASSERT_THAT(writer.Add("k.json", R"({"conversation": [{"sender": "user", "fragments":
        [{"t": "text", "value": "Hi"}]}]})"),
                IsOk());
    ASSERT_THAT(writer.Close(), IsOk());
    ASSERT_THAT(
        PrepareDataset(folder, {.splits = {{"train", {"0.tar"}}}, .fields = ConversationFields()}),
        IsOk());
  }
  const auto blend = OpenBlend(Meta("{blend: [{path: chats, aux: {media_source: media}}, {path: "
                                    "more, aux: {media_source: ./media}}, {path: more}]}"),
                               "train", {}, false)
                         .value();
  std::vector<const MediaSource*> media;
  for (const BlendedDataset& part : blend->parts) media.push_back(part.dataset()->media());
  ASSERT_NE(media[0], nullptr);
  EXPECT_EQ(media[1], media[0]);
  EXPECT_EQ(media[2], nullptr);
  std::string bytes;
  EXPECT_THAT(media[0]->Read("k0_1.txt", bytes), IsOkAndHolds(true));
  EXPECT_EQ(bytes, "media 0.tar 1");
}

TEST_F(OpenBlendTest, AFolderIsABlendOfOne) {
  Write("a", {3, 2});
  const auto blend = OpenBlend(root_ / "a", "train", {}, false).value();
  EXPECT_EQ(blend->mode, BlendMode::kNone);
  EXPECT_EQ(TextOf(*blend, blend->IndexOf({.data_set = 0, .place = 3})), "a 1.tar 0");
  fs::create_directories(root_ / "raw");
  EXPECT_THAT(OpenBlend(root_ / "raw", "train", {}, false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--prepare")));
}

TEST_F(OpenBlendTest, WhatIsNotReadIsRefusedByName) {
  Write("a", {3, 2}, {"0.tar/k0_0", "0.tar/k0_1", "0.tar/k0_2"});
  Write("b", {6});
  EXPECT_THAT(
      OpenBlend(Meta("{path: b, dataset_config: other.yaml}"), "train", {}, false),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("dataset_config is set for data set"), HasSubstr("remove it"))));
  EXPECT_THAT(OpenBlend(Meta("{path: b, aux: {media: filesystem://a}}"), "train", {}, false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("aux.media is set for data set"),
                             HasSubstr("of whose sources aux.media_source alone is read"))));
  EXPECT_THAT(OpenBlend(Meta("{path: b, aux: {media_source: filesystem://a}}"), "train", {}, false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("aux.media_source is set for data set"),
                             HasSubstr("whose samples hold all that is read of them"))));
  EXPECT_THAT(OpenBlend(Meta("{path: b, aux: {media_source: filesystem://c}}"), "train", {}, false),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("aux.media_source: media source filesystem://"),
                             HasSubstr("there is no folder"))));
  EXPECT_THAT(OpenBlend(Meta("{path: a, subset: {range: [0, 3]}}"), "train", {}, false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("no sample is read: all of [0, 3) are excluded")));
  EXPECT_THAT(OpenBlend(Meta("{path: b}"), "val", {}, false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("splits has no \"val\"")));
}

}  // namespace
}  // namespace hetero::data
