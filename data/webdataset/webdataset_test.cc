#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/file/file.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/brace.h"
#include "hetero/data/webdataset/check.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/field.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/data/webdataset/sample_index.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST(BraceTest, ExpandsRangesAndAlternatives) {
  EXPECT_THAT(ExpandBraces("p/d-{0..2}.tar"),
              IsOkAndHolds(ElementsAre("p/d-0.tar", "p/d-1.tar", "p/d-2.tar")));
  EXPECT_THAT(ExpandBraces("{08..10}"), IsOkAndHolds(ElementsAre("08", "09", "10")));
  EXPECT_THAT(
      ExpandBraces("{2..0}{a,b{1,2}}"),
      IsOkAndHolds(ElementsAre("2a", "2b1", "2b2", "1a", "1b1", "1b2", "0a", "0b1", "0b2")));
  EXPECT_THAT(ExpandBraces("plain"), IsOkAndHolds(ElementsAre("plain")));
  EXPECT_THAT(ExpandBraces("{x}"), IsOkAndHolds(ElementsAre("{x}")));
}

TEST(BraceTest, RefusesWhatDoesNotCloseOrEnd) {
  for (const std::string_view pattern : {"{0..2", "0..2}", "{0..99999999}", "{0..9999}{0..9999}"}) {
    EXPECT_THAT(ExpandBraces(pattern),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(pattern)));
  }
}

TEST(BraceTest, CollapsedRunsExpandToTheSameNames) {
  const std::vector<std::string> names = {"p/s-08.tar", "p/s-09.tar", "p/s-10.tar", "p/s-12.tar",
                                          "q/1-01.tar", "q/1-02.tar", "r10.tar",    "r9.tar"};
  const std::vector<std::string> patterns = CollapseRuns(names);
  EXPECT_THAT(patterns, ElementsAre("p/s-{08..10}.tar", "p/s-12.tar", "q/1-{01..02}.tar", "r10.tar",
                                    "r9.tar"));
  std::vector<std::string> expanded;
  for (const std::string& pattern : patterns) {
    const std::vector<std::string> of_pattern = ExpandBraces(pattern).value();
    expanded.insert(expanded.end(), of_pattern.begin(), of_pattern.end());
  }
  EXPECT_EQ(expanded, names);
}

TEST(MetadataTest, InfoKeepsShardOrderAndReadsBothFormats) {
  const DatasetInfo info = {.energon_version = "7.4.1",
                            .shard_counts = {{"z.tar", 3}, {"a/b.tar", 10}, {"\xc3\xa9.tar", 1}}};
  const std::string json = FormatDatasetInfo(info);
  EXPECT_THAT(json, HasSubstr("\\u00e9.tar"));
  EXPECT_FALSE(json.ends_with('\n'));
  EXPECT_EQ(ParseDatasetInfo(json)->shard_counts, info.shard_counts);
  EXPECT_THAT(ParseDatasetInfoYaml("shard_counts:\n  z.tar: 3\n  a.tar: 1\n")->shard_counts,
              ElementsAre(Pair("z.tar", 3), Pair("a.tar", 1)));
}

TEST(MetadataTest, ErrorsNameTheFileAndTheField) {
  for (const std::string_view cut :
       {"", "{", R"({"shard_counts": {"a.tar")", R"({"shard_counts": 1})"}) {
    EXPECT_THAT(ParseDatasetInfo(cut),
                StatusIs(absl::StatusCode::kDataLoss,
                         AllOf(HasSubstr(".info.json"), HasSubstr("prepare the data set again"))));
    EXPECT_THAT(ParseDatasetInfoYaml(cut), StatusIs(absl::StatusCode::kDataLoss));
  }
  EXPECT_THAT(ParseDatasetInfo(R"({"shard_counts": {"a.tar": 0}})"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a.tar is 0")));
  EXPECT_THAT(ParseSplitConfig("split_parts: [a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("split.yaml")));
  EXPECT_THAT(ParseSplitConfig("exclude: []"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("split_parts")));
  EXPECT_THAT(ParseSampleFields("sample_type: {__class__: OCRSample}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("OCRSample")));
  EXPECT_THAT(ParseSampleFields("sample_type: {__class__: VQASample}\n"
                                "field_map: {image: jpg, context: txt}"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("must name the member of answers, as VQASample has it")));
  EXPECT_THAT(ParseSampleFields("sample_type: {__class__: CaptioningSample}\n"
                                "field_map: {image: \"json[a]\", caption: txt}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("indexes into a member")));
  // What another kind of data set says of itself is named, and what to write instead.
  for (const auto& [yaml, says] :
       {std::pair("__module__: megatron.energon\n__class__: CaptioningWebdataset\n"
                  "field_map: {image: png, caption: txt}\n",
                  "__class__ is CaptioningWebdataset"),
        std::pair("field_map: {image: png, caption: txt}\n", "sample_type is not set"),
        std::pair("sample_type: {__module__: megatron.energon}\n",
                  "sample_type.__class__ is not set")}) {
    EXPECT_THAT(ParseSampleFields(yaml),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("dataset.yaml"), HasSubstr(says),
                               HasSubstr("sample_type: {__module__: megatron.energon, __class__: "
                                         "CaptioningSample}"))));
  }
  EXPECT_THAT(
      ParseSampleFields("sample_type: {__class__: CaptioningSample}\nsample_loader: f.py:g"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Python")));
}

TEST(MetadataTest, EveryKindOfSampleIsReadAsItIsWritten) {
  EXPECT_EQ(ParseSampleFields("__module__: megatron.energon\n__class__: CrudeWebdataset\n"
                              "subflavors: {kind: chat}\n")
                .value(),
            SampleFields(ConversationFields()));
  EXPECT_EQ(ParseSampleFields("sample_type: {__module__: megatron.energon, __class__: VQASample}\n"
                              "field_map: {image: jpg, context: \"json[q]\", answers: txt}")
                .value(),
            SampleFields(QuestionFields{.image = "jpg", .context = "json[q]", .answers = "txt"}));
  for (const SampleFields& fields :
       {SampleFields(CaptioningFields()), SampleFields(ConversationFields()),
        SampleFields(TextFields{.text = "txt,json[text][0]"}),
        SampleFields(QuestionFields{.image = "png", .context = "json[q]", .answers = "json[a]"})}) {
    EXPECT_EQ(ParseSampleFields(FormatSampleFields(fields)).value(), fields);
  }
}

TEST(MetadataTest, MutatedFilesNeverBreakTheParsers) {
  std::mt19937_64 random = FreshGenerator();
  const std::vector<std::string> seeds = {
      FormatDatasetInfo({.energon_version = "7", .shard_counts = {{"a.tar", 3}, {"b.tar", 4}}}),
      FormatSplitConfig(
          {.parts = {{"train", {"a-{0..3}.tar"}}, {"test", {"b.tar"}}}, .exclude = {"b.tar/x"}}),
      FormatSampleFields({})};
  for (int round = 0; round < 3000; ++round) {
    std::string text = seeds[random() % seeds.size()];
    for (int edit = 0; edit < 3; ++edit) {
      const size_t at = random() % text.size();
      if (random() % 3 == 0) {
        text.insert(at, text.substr(0, random() % 20));
      } else {
        text[at] = static_cast<char>(random());
      }
    }
    ParseDatasetInfo(text).IgnoreError();
    ParseDatasetInfoYaml(text).IgnoreError();
    ParseSplitConfig(text).IgnoreError();
    ParseSampleFields(text).IgnoreError();
    ExpandBraces(text).IgnoreError();
  }
}

std::string Png(int value) {
  Image image;
  image.Reshape({.height = 6, .width = 5}, 1);
  image.pixels.assign(image.pixels.size(), static_cast<uint8_t>(value));
  return EncodePng(image).value();
}

// Three shards of five samples each; keys are unique, captions are decimal numbers.
class DatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_ / "parts");
    for (int shard = 0; shard < 3; ++shard) WriteShard(shard);
  }

  void WriteShard(int shard, const std::string& damage = "") {
    TarWriter writer = TarWriter::Create(ShardPath(shard)).value();
    for (int i = 0; i < 5; ++i) {
      const int id = shard * 5 + i;
      const std::string key = absl::StrFormat("s%02d", id);
      ASSERT_THAT(writer.Add(key + ".png", key == damage ? Png(id).substr(0, 50) : Png(id)),
                  IsOk());
      ASSERT_THAT(writer.Add(key + ".txt", absl::StrCat(id)), IsOk());
    }
    ASSERT_THAT(writer.Close(), IsOk());
  }

  fs::path ShardPath(int shard) const {
    return root_ / absl::StrFormat("parts/data-%d.tar", shard);
  }

  absl::StatusOr<PrepareReport> Prepare() const {
    return PrepareDataset(
        root_, {.splits = {{"train", {"parts/data-{0..1}.tar"}}, {"test", {"parts/data-2.tar"}}},
                .fields = CaptioningFields{.image = "jpg,png", .caption = "txt"}});
  }

  std::vector<std::string> Captions(std::string_view split) const {
    const auto dataset = Dataset::Open(root_, split).value();
    std::vector<std::string> captions;
    RawSample sample;
    for (int64_t i = 0; i < dataset->size(); ++i) {
      EXPECT_THAT(dataset->Read(i, sample), IsOk());
      captions.emplace_back(
          (*SelectPart(sample, std::get<CaptioningFields>(dataset->fields()).caption))->bytes);
      EXPECT_EQ(captions.back(), absl::StrCat(dataset->Position(i) + (split == "test" ? 10 : 0)));
      EXPECT_EQ(sample.Find("png")->bytes,
                Png(static_cast<int>(dataset->Position(i)) + (split == "test" ? 10 : 0)));
    }
    return captions;
  }

  fs::path root_;
};

TEST_F(DatasetTest, PreparedSplitsReadBack) {
  const PrepareReport report = Prepare().value();
  EXPECT_EQ(report.num_shards, 3);
  EXPECT_EQ(report.num_samples, 15);
  EXPECT_THAT(report.excluded, IsEmpty());
  EXPECT_THAT(Captions("train"), SizeIs(10));
  EXPECT_THAT(Captions("test"), ElementsAre("10", "11", "12", "13", "14"));
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(root_ / kMetadataFolder)) {
    files.push_back(entry.path().filename());
  }
  EXPECT_THAT(files,
              UnorderedElementsAre(".info.json", "split.yaml", "dataset.yaml", "index.sqlite",
                                   "index.uuid", "sample_headers.train", "sample_headers.test"));
  EXPECT_THAT(ReadFile(root_ / kMetadataFolder / kIndexIdFile), IsOkAndHolds(SizeIs(36)));
  EXPECT_THAT(ReadTarIndex(ShardPath(0)), IsOkAndHolds(SizeIs(6)));

  const auto index = SampleIndex::Open(root_ / kMetadataFolder / kIndexFile).value();
  const auto location = index->Find("s07").value();
  ASSERT_TRUE(location.has_value());
  EXPECT_EQ(location->shard_id, 1);
  EXPECT_EQ(location->sample_index, 2);
  EXPECT_EQ(index->Find("nothing").value(), std::nullopt);
}

TEST_F(DatasetTest, UndecodableImagesAreExcludedByNameAndPositionsStay) {
  WriteShard(0, "s03");
  const PrepareReport report = Prepare().value();
  ASSERT_THAT(report.excluded, SizeIs(1));
  EXPECT_EQ(report.excluded[0].sample, "parts/data-0.tar/s03");
  EXPECT_THAT(report.excluded[0].reason, HasSubstr("s03.png: PNG"));
  EXPECT_THAT(Captions("train"), ElementsAre("0", "1", "2", "4", "5", "6", "7", "8", "9"));
  EXPECT_THAT(Captions("test"), SizeIs(5));
  const auto dataset = Dataset::Open(root_, "train").value();
  EXPECT_EQ(dataset->num_excluded(), 1);
}

TEST_F(DatasetTest, WhatNoRunCanUseIsExcludedWithItsReason) {
  TarWriter writer = TarWriter::Create(root_ / "parts/data-0.tar").value();
  ASSERT_THAT(writer.Add("empty.png", ""), IsOk());
  ASSERT_THAT(writer.Add("empty.txt", "1"), IsOk());
  ASSERT_THAT(writer.Add("other.jpg", "GIF89a..."), IsOk());
  ASSERT_THAT(writer.Add("other.txt", "2"), IsOk());
  ASSERT_THAT(writer.Add("silent.png", Png(3)), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  const PrepareReport report = Prepare().value();
  ASSERT_THAT(report.excluded, SizeIs(3));
  EXPECT_EQ(report.excluded[0].reason, "member empty.png: the file has 0 bytes");
  EXPECT_THAT(report.excluded[1].reason,
              AllOf(HasSubstr("member other.jpg"), HasSubstr("a GIF image")));
  EXPECT_THAT(
      report.excluded[2].reason,
      AllOf(HasSubstr("parts/data-0.tar/silent has no member \"txt\""), HasSubstr("it has png")));
  EXPECT_EQ(Dataset::Open(root_, "train").value()->size(), 5);
}

TEST_F(DatasetTest, AFolderOfWhichNothingCanBeUsedIsNotPrepared) {
  const PrepareOptions options = {.splits = {{"train", {"parts/data-0.tar"}}},
                                  .fields = CaptioningFields{.image = "gif", .caption = "txt"}};
  EXPECT_THAT(PrepareDataset(root_, options),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("none of the 15 samples"), HasSubstr("parts/data-0.tar/s00"),
                             HasSubstr("no member \"gif\""))));
  EXPECT_FALSE(fs::exists(root_ / kMetadataFolder));
}

TEST_F(DatasetTest, WhatNoRunWillReadIsToldWhenItIsPrepared) {
  ASSERT_THAT(WriteFileAtomically(root_ / "parts/old.tar.gz", "\x1f\x8b"), IsOk());
  fs::copy_file(ShardPath(2), root_ / "parts/data-9.tar");
  // The copy has the keys of its source, so the source goes.
  fs::remove(ShardPath(2));
  const PrepareReport report =
      PrepareDataset(root_, {.splits = {{"train", {"parts/data-{0..1}.tar"}}}, .fields = {}})
          .value();
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("parts/old.tar.gz is compressed"),
                                           HasSubstr("shard parts/data-9.tar is in no split")));
  EXPECT_THAT(Prepare(), StatusIs(absl::StatusCode::kInvalidArgument,
                                  AllOf(HasSubstr("names shard parts/data-2.tar"),
                                        HasSubstr("3 from parts/data-0.tar to parts/data-9.tar"))));
}

TEST_F(DatasetTest, AShardWithoutSamplesIsCorrupt) {
  ASSERT_THAT(WriteFileAtomically(root_ / "parts/empty.tar", ""), IsOk());
  EXPECT_THAT(Prepare(), StatusIs(absl::StatusCode::kDataLoss,
                                  AllOf(HasSubstr("parts/empty.tar has no samples"),
                                        HasSubstr("its 0 bytes"))));
}

TEST_F(DatasetTest, ASampleThatAnExcludeListCannotNameIsNotPassedOver) {
  TarWriter writer = TarWriter::Create(root_ / "parts/braces.tar").value();
  ASSERT_THAT(writer.Add("k{1,2}.png", ""), IsOk());
  ASSERT_THAT(writer.Add("k{1,2}.txt", "1"), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  EXPECT_THAT(Prepare(),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("parts/braces.tar/k{1,2}"), HasSubstr("nor excluded"))));
}

TEST_F(DatasetTest, ATgzIsUnpackedAsTold) {
  const std::string folder = root_.native();
  ASSERT_EQ(std::system(absl::StrCat("cd ", folder,
                                     "/parts && gzip -c data-1.tar > 'data-1.tgz' && "
                                     "rm data-1.tar")
                            .c_str()),
            0);
  const absl::Status status = Prepare().status();
  ASSERT_THAT(status, StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("parts/data-1.tgz")));
  const std::string message(status.message());
  EXPECT_EQ(std::system(absl::StrCat("cd ", folder, " && ",
                                     message.substr(message.find("unpack it: ") + 11))
                            .c_str()),
            0);
  EXPECT_EQ(Prepare().value().num_samples, 15);
}

TEST_F(DatasetTest, PreparedAgainItKeepsSplitsFieldsExcludesAndOtherFiles) {
  ASSERT_THAT(Prepare(), IsOk());
  const fs::path folder = root_ / kMetadataFolder;
  const std::string sample_yaml =
      ReadFile(folder / kSampleFile).value() + "# mine\nsubflavors: {kind: numbers}\n";
  ASSERT_THAT(WriteFileAtomically(folder / kSampleFile, sample_yaml), IsOk());
  ASSERT_THAT(WriteFileAtomically(folder / "notes.txt", "mine"), IsOk());
  const SplitConfig config = {
      .parts = {{"train", {"parts/data-{0..1}.tar"}}, {"val", {}}, {"test", {"parts/data-2.tar"}}},
      .exclude = {"parts/data-0.tar/s0{1..2}", "parts/data-0.tar/s0{4..5}"}};
  ASSERT_THAT(WriteFileAtomically(folder / kSplitFile, FormatSplitConfig(config)), IsOk());
  WriteShard(0, "s03");
  fs::remove(TarIndexPath(ShardPath(0)));

  const PrepareReport report = PrepareDataset(root_, OptionsOfPrepared(root_).value()).value();
  ASSERT_THAT(report.excluded, SizeIs(1));
  EXPECT_EQ(report.excluded[0].sample, "parts/data-0.tar/s03");
  // s05 lies in another shard.
  EXPECT_THAT(report.warnings,
              ElementsAre(HasSubstr("\"parts/data-0.tar/s05\" names no shard or sample")));
  EXPECT_THAT(Captions("train"), ElementsAre("0", "5", "6", "7", "8", "9"));
  EXPECT_THAT(Captions("test"), SizeIs(5));
  EXPECT_THAT(ReadFile(folder / kSampleFile), IsOkAndHolds(sample_yaml));
  EXPECT_THAT(ReadFile(folder / "notes.txt"), IsOkAndHolds("mine"));
}

TEST_F(DatasetTest, CheckFindsWhatARunWouldMeetAndPreparationMendsIt) {
  ASSERT_THAT(Prepare(), IsOk());
  EXPECT_THAT(CheckDataset(root_).value().unreadable, IsEmpty());
  // A member of the same size whose bytes changed after preparation.
  std::string tar = ReadFile(ShardPath(1)).value();
  tar[tar.find("s07.png") + 512 + 60] ^= 0x55;
  ASSERT_THAT(WriteFileAtomically(ShardPath(1), tar), IsOk());
  const CheckReport report = CheckDataset(root_).value();
  EXPECT_EQ(report.num_shards, 3);
  EXPECT_EQ(report.num_samples, 15);
  ASSERT_THAT(report.splits, SizeIs(2));
  EXPECT_EQ(report.splits[0].num_samples, 10);
  ASSERT_THAT(report.unreadable, SizeIs(1));
  EXPECT_EQ(report.unreadable[0].sample, "parts/data-1.tar/s07");
  EXPECT_THAT(report.unreadable[0].reason, HasSubstr("member s07.png: PNG"));
  ASSERT_THAT(PrepareDataset(root_, OptionsOfPrepared(root_).value()), IsOk());
  EXPECT_THAT(CheckDataset(root_).value().unreadable, IsEmpty());
  EXPECT_THAT(Captions("train"), ElementsAre("0", "1", "2", "3", "4", "5", "6", "8", "9"));
}

TEST_F(DatasetTest, CheckNoticesAnIndexOfAnotherTarOfTheSameLength) {
  ASSERT_THAT(Prepare(), IsOk());
  std::vector<uint64_t> index = ReadTarIndex(ShardPath(2)).value();
  index[1] -= 512;
  ASSERT_THAT(WriteTarIndex(ShardPath(2), index), IsOk());
  EXPECT_THAT(CheckDataset(root_),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("parts/data-2.tar"), HasSubstr("made for another tar"))));
}

TEST_F(DatasetTest, ExcludeListsTakeShardsAndSamples) {
  ASSERT_THAT(Prepare(), IsOk());
  SplitConfig config = {.parts = {{"train", {"parts/data-{0..2}.tar"}}},
                        .exclude = {"parts/data-1.tar", "parts/data-2.tar/s{10..12}"}};
  const fs::path path = root_ / kMetadataFolder / kSplitFile;
  ASSERT_THAT(WriteFileAtomically(path, FormatSplitConfig(config)), IsOk());
  EXPECT_THAT(Captions("train"), ElementsAre("0", "1", "2", "3", "4", "13", "14"));

  // A shard may stand in a split twice; so do its excluded samples.
  config.parts = {{"train", {"parts/data-0.tar", "parts/data-0.tar"}}};
  config.exclude = {"parts/data-0.tar/s02"};
  ASSERT_THAT(WriteFileAtomically(path, FormatSplitConfig(config)), IsOk());
  EXPECT_EQ(Dataset::Open(root_, "train").value()->size(), 8);

  config.exclude = {"parts/data-0.tar/nobody"};
  ASSERT_THAT(WriteFileAtomically(path, FormatSplitConfig(config)), IsOk());
  EXPECT_THAT(Dataset::Open(root_, "train"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nobody")));
  config.parts = {{"train", {"parts/data-{0..2}.tar"}}};
  config.exclude = {"parts/data-{0..2}.tar"};
  ASSERT_THAT(WriteFileAtomically(path, FormatSplitConfig(config)), IsOk());
  EXPECT_THAT(Dataset::Open(root_, "train"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("all of them excluded")));
  config.exclude = {"elsewhere.tar"};
  ASSERT_THAT(WriteFileAtomically(path, FormatSplitConfig(config)), IsOk());
  EXPECT_THAT(Dataset::Open(root_, "train"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("elsewhere.tar")));
}

TEST_F(DatasetTest, DamageIsFoundWhenASplitIsOpened) {
  ASSERT_THAT(Prepare(), IsOk());
  EXPECT_THAT(Dataset::Open(root_, "valid"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("train, test")));
  EXPECT_THAT(Dataset::Open(root_ / "parts", "train"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no prepared data set")));
  fs::resize_file(ShardPath(1), 4096);
  EXPECT_THAT(Dataset::Open(root_, "train"),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("parts/data-1.tar"), HasSubstr("cut short"))));
  fs::remove(ShardPath(1));
  EXPECT_THAT(Dataset::Open(root_, "train"),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("parts/data-1.tar is missing"),
                                                          HasSubstr(ShardPath(1).native()))));
  EXPECT_THAT(Dataset::Open(root_, "test"), IsOk());
}

TEST_F(DatasetTest, ASplitWithoutShardsIsCalledThat) {
  ASSERT_THAT(Prepare(), IsOk());
  const SplitConfig config = {.parts = {{"train", {"parts/data-0.tar"}}, {"val", {}}},
                              .exclude = {}};
  ASSERT_THAT(WriteFileAtomically(root_ / kMetadataFolder / kSplitFile, FormatSplitConfig(config)),
              IsOk());
  EXPECT_THAT(Dataset::Open(root_, "val"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("lists no shards under split_parts.val"),
                             ::testing::Not(HasSubstr("excluded")))));
}

TEST_F(DatasetTest, AFolderThatIsNotPreparedSaysHowToPrepareIt) {
  EXPECT_THAT(
      Dataset::Open(root_, "train"),
      StatusIs(absl::StatusCode::kNotFound,
               HasSubstr(absl::StrCat("//tools:dataset_check -- --prepare ", root_.native()))));
  EXPECT_THAT(Dataset::Open(root_ / "nowhere", "train"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr(absl::StrCat("there is no folder ", root_.native(), "/nowhere"))));
}

TEST_F(DatasetTest, AFifoAsAShardOrIndexIsNamedAndNotWaitedFor) {
  ASSERT_THAT(Prepare(), IsOk());
  for (const fs::path& path :
       {ShardPath(1), TarIndexPath(ShardPath(0)), root_ / kMetadataFolder / kSplitFile}) {
    const fs::path kept = fs::path(path) += ".kept";
    fs::rename(path, kept);
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_THAT(Dataset::Open(root_, "train"),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat(path.native(), " is a FIFO"))));
    fs::remove(path);
    fs::rename(kept, path);
  }
  fs::remove(ShardPath(1));
  ASSERT_EQ(mkfifo(ShardPath(1).c_str(), 0600), 0);
  EXPECT_THAT(Prepare(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a FIFO")));
}

TEST_F(DatasetTest, AnIndexThatChangesUnderARunIsDataLoss) {
  ASSERT_THAT(Prepare(), IsOk());
  const auto dataset = Dataset::Open(root_, "train").value();
  RawSample sample;
  // Cut, and whole but of fewer samples.
  const std::string index = ReadFile(TarIndexPath(ShardPath(1))).value();
  for (const std::string& changed : {index.substr(0, 12), index.substr(0, 8) + index.substr(40)}) {
    ASSERT_THAT(WriteFileAtomically(TarIndexPath(ShardPath(1)), changed), IsOk());
    EXPECT_THAT(dataset->Read(9, sample),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("parts/data-1.tar")));
  }
  EXPECT_THAT(dataset->Read(0, sample), IsOk());
}

TEST_F(DatasetTest, MembersThatDoNotStandSideBySideAreSortedAsTold) {
  TarWriter writer = TarWriter::Create(root_ / "parts/extra tar.tar").value();
  for (const std::string key : {"x", "y"}) ASSERT_THAT(writer.Add(key + ".png", Png(1)), IsOk());
  for (const std::string key : {"x", "y"}) ASSERT_THAT(writer.Add(key + ".txt", "1"), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  const absl::Status status = Prepare().status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr("members of sample \"x\" do not stand side by side"),
                                     HasSubstr("parts/extra tar.tar"), HasSubstr("sort the tar"))));
  const std::string message(status.message());
  const std::string command = message.substr(message.find("by name: ") + 9);
  EXPECT_EQ(std::system(absl::StrCat("cd ", root_.native(), " && ", command).c_str()), 0)
      << command;
  EXPECT_EQ(Prepare().value().num_samples, 17);
}

TEST_F(DatasetTest, MembersOfASampleInTwoShardsAreNamed) {
  TarWriter writer = TarWriter::Create(root_ / "parts/json.tar").value();
  ASSERT_THAT(writer.Add("s07.json", "{}"), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  EXPECT_THAT(Prepare(), StatusIs(absl::StatusCode::kDataLoss,
                                  AllOf(HasSubstr("members of sample \"s07\" lie in two shards"),
                                        HasSubstr("parts/json.tar"))));
}

// A limit on the size of files is the disk's end as an unprivileged process can make it.
TEST_F(DatasetTest, ADiskThatIsFullIsOutOfResourcesForTheSampleIndexToo) {
  rlimit usual;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &usual), 0);
  ASSERT_NE(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  ShardContents contents;
  for (int i = 0; i < 20000; ++i) {
    contents.samples.push_back({.key = absl::StrFormat("key%08d", i)});
  }
  const rlimit small = {.rlim_cur = 100'000, .rlim_max = usual.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto index = SampleIndexWriter::Create(root_ / "index.sqlite");
  absl::Status status = index.status();
  if (status.ok()) status = (*index)->AddShard(0, "a.tar", contents);
  if (status.ok()) status = (*index)->Close();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &usual), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("index.sqlite")));
}

TEST_F(DatasetTest, CorruptSampleIndexIsDataLoss) {
  WriteShard(0, "s03");
  ASSERT_THAT(Prepare(), IsOk());
  ASSERT_THAT(WriteFileAtomically(root_ / kMetadataFolder / kIndexFile, std::string(4096, 'x')),
              IsOk());
  EXPECT_THAT(Dataset::Open(root_, "train"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("index.sqlite")));
}

TEST_F(DatasetTest, DuplicateKeysAndDamagedTarsLeaveNoMetadata) {
  TarWriter writer = TarWriter::Create(root_ / "parts/extra.tar").value();
  ASSERT_THAT(writer.Add("s07.png", Png(1)), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  EXPECT_THAT(Prepare(), StatusIs(absl::StatusCode::kDataLoss,
                                  AllOf(HasSubstr("s07"), HasSubstr("sample 2 of parts/data-1.tar"),
                                        HasSubstr("sample 0 of parts/extra.tar"))));
  fs::resize_file(root_ / "parts/extra.tar", 700);
  EXPECT_THAT(Prepare(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("parts/extra.tar")));
  for (const auto& entry : fs::directory_iterator(root_)) EXPECT_EQ(entry.path(), root_ / "parts");
  fs::remove(root_ / "parts/extra.tar");
  EXPECT_THAT(Prepare(), IsOk());
  EXPECT_THAT(Prepare(), IsOk());
  EXPECT_THAT(Captions("train"), SizeIs(10));
}

TEST_F(DatasetTest, ShardsAreOrderedByPathComponentsAndHiddenOnesSkipped) {
  fs::create_directories(root_ / "parts/sub");
  fs::create_directories(root_ / ".hidden");
  int id = 0;
  for (const char* name :
       {"parts/sub/b.tar", "parts/sub-a.tar", "parts/A.tar", ".hidden/x.tar", ".h.tar"}) {
    TarWriter writer = TarWriter::Create(root_ / name).value();
    ASSERT_THAT(writer.Add(absl::StrCat("other", id++, ".png"), Png(1)), IsOk());
    ASSERT_THAT(writer.Close(), IsOk());
  }
  ASSERT_THAT(Prepare(), IsOk());
  const DatasetInfo info =
      ParseDatasetInfo(ReadFile(root_ / kMetadataFolder / kInfoFile).value()).value();
  std::vector<std::string> names;
  for (const auto& [name, count] : info.shard_counts) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("parts/A.tar", "parts/data-0.tar", "parts/data-1.tar",
                                 "parts/data-2.tar", "parts/sub/b.tar", "parts/sub-a.tar"));
}

}  // namespace
}  // namespace hetero::data
