#include "hetero/data/energon/metadataset.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/data/energon/folder_testing.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/read_blend.h"
#include "hetero/data/energon/slice_loader.h"
#include "hetero/data/energon/subset.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr std::string_view kHead =
    "__module__: megatron.energon\n__class__: MetadatasetV2\nsplits:\n";

std::string File(std::string_view splits) { return absl::StrCat(kHead, splits); }

TEST(MetadatasetTest, HasEveryFieldOfAnEntry) {
  const absl::StatusOr<Metadataset> read = ParseMetadataset(File(R"(
  train:
    blend:
      - {weight: 2.5, path: a, split_part: most, shuffle_over_epochs_multiplier: -1,
         subflavors: {kind: "photo", crop: true}, subset: {range: [10, 20]},
         dataset_config: other.yaml, split_config: odd.yaml,
         aux: {media: ../m, files: "filesystem://f"}}
      - {path: b.yaml, shuffle_over_epochs_multiplier: null, subset: {range: [12.5%, "50%"]}}
  val: {path: c, split_part: null}
)"));
  ASSERT_THAT(read, IsOk());
  ASSERT_EQ(read->splits.size(), 2);
  const auto& [name, train] = read->splits[0];
  EXPECT_EQ(name, "train");
  EXPECT_EQ(train.mode, BlendMode::kWeights);
  DatasetReference first = {.field = "splits.train.blend[0]",
                            .path = "a",
                            .split_part = "most",
                            .subflavors = {{"crop", "true"}, {"kind", "photo"}},
                            .shuffle_over_epochs_multiplier = kWithReplacement,
                            .subset = Subset{.samples = Subset::Samples{10, 20}},
                            .dataset_config = "other.yaml",
                            .split_config = "odd.yaml",
                            .aux = {{"files", {"f", true}}, {"media", {"../m", false}}},
                            .share = 2.5};
  DatasetReference second = {.field = "splits.train.blend[1]",
                             .path = "b.yaml",
                             .shuffle_over_epochs_multiplier = std::nullopt,
                             .subset = Subset{.begin = 0.125, .end = 0.5}};
  EXPECT_THAT(train.entries, ElementsAre(first, second));
  EXPECT_EQ(read->splits[1].second.mode, BlendMode::kNone);
  EXPECT_THAT(read->splits[1].second.entries,
              ElementsAre(DatasetReference{.field = "splits.val", .path = "c"}));
}

struct Refusal {
  std::string_view splits;
  std::string_view message;
};

TEST(MetadatasetTest, RefusalsNameFieldValueAndWhatIsAccepted) {
  const Refusal refusals[] = {
      {"  train: 5",
       "splits.train is \"5\"; a map with path, blend or blend_epochized is accepted"},
      {"  train: {blend: []}", "splits.train.blend is a list; a list of one data set or more"},
      {"  train: {blend: {path: a}}", "splits.train.blend is a map; a list"},
      {"  train: {blend: [{weight: 1}]}", "splits.train.blend[0].path is not set; the path of"},
      {"  train: {blend: [{path: \"msc://b/a\"}]}", "blend[0].path is \"msc://b/a\"; the path"},
      {"  train: {blend: [{path: a, weight: -1}]}",
       "splits.train.blend[0].weight is \"-1\"; a positive number is accepted"},
      {"  train: {blend: [{path: a, weight: \"2\"}]}", "weight is \"2\"; a positive number"},
      {"  train: {blend: [{path: a, weight: .inf}]}", "weight is \".inf\""},
      {"  train: {blend: [{path: a, weight: null}]}", "weight is null"},
      {"  train: {blend: [{path: a, repetitions: 2}]}",
       "splits.train.blend[0].repetitions is not known; a map with path, split_part"},
      {"  train: {blend_epochized: [{path: a, repetitions: 0}]}", "repetitions is \"0\""},
      {"  train: {blend: [{path: a}], path: b}",
       "splits.train.path is not known; a map with blend"},
      {"  train: {path: a, weight: 1}", "splits.train.weight is not known"},
      {"  train: {path: a, path: b}", "splits.train.path is set twice; once is accepted"},
      {"  train: {blend: [{blend: [{path: a}]}]}",
       "splits.train.blend[0].blend is set; a blend within a blend is accepted as a file"},
      {"  train: {join: [{path: a}], joiner: x}", "splits.train.join is set; joins are not read"},
      {"  train: {blend: [{join: {}}]}", "splits.train.blend[0].join is set"},
      {"  train: {path: a, shuffle_over_epochs_multiplier: 0}",
       "splits.train.shuffle_over_epochs_multiplier is \"0\"; null, -1"},
      {"  train: {path: a, shuffle_over_epochs_multiplier: 1.5}", "is \"1.5\"; null"},
      {"  train: {path: a, subset: [1, 2]}", "splits.train.subset is a list; a map with range"},
      {"  train: {path: a, subset: {}}", "splits.train.subset.range is not set; a list of begin"},
      {"  train: {path: a, subset: {range: [1]}}", "subset.range is a list; a list of begin and"},
      {"  train: {path: a, subset: {range: [1, 50%]}}",
       "splits.train.subset.range[1] is \"50%\"; a number of samples or \"end\", as the begin"},
      {"  train: {path: a, subset: {range: [1%, end]}}",
       "range[1] is \"end\"; a number of samples"},
      {"  train: {path: a, subset: {range: [1%, 101%]}}", "range[1] is \"101%\"; a number of"},
      {"  train: {path: a, subset: {range: [60%, 50%]}}",
       "range[1] is \"50%\"; an end that is not"},
      {"  train: {path: a, subset: {range: [-1, 50]}}", "range[0] is \"-1\"; a number of samples"},
      {"  train: {path: a, subset: {range: [1%, 5]}}",
       "range[1] is \"5\"; a percentage, as the begin is one, is accepted"},
      {"  train: {path: a, subflavors: {x: [1]}}", "splits.train.subflavors.x is a list; a text"},
      {"  train: {path: a, aux: {m: \"msc://b\"}}",
       "splits.train.aux.m is \"msc://b\"; a path, or \"filesystem://\" and one, is accepted"},
      {"  train: {path: [a]}", "splits.train.path is a list; a name is accepted"},
      {"  ? [a]\n  : {path: a}", "a name in splits is a list"},
      {"  a: {path: a}\n  a: {path: a}", "a name in splits is \"a\"; a text, once"},
      {"  {", "the file is no YAML: "},
  };
  for (const auto& [splits, message] : refusals) {
    EXPECT_THAT(ParseMetadataset(File(splits)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << splits;
  }
  const Refusal files[] = {
      {"", "the file is null; a map with __module__, __class__, splits is accepted"},
      {"splits: {}", "__module__ is not set; megatron.energon is accepted"},
      {"__module__: os\n__class__: MetadatasetV2", "__module__ is \"os\"; megatron.energon"},
      {"__module__: megatron.energon\n__class__: Metadataset",
       "__class__ is \"Metadataset\"; MetadatasetV2 is accepted"},
      {"__module__: megatron.energon\n__class__: MetadatasetV2", "splits is not set; a map"},
      {"__module__: megatron.energon\n__class__: MetadatasetV2\nsplits: {}\npath: x",
       "the file.path is not known"},
  };
  for (const auto& [text, message] : files) {
    EXPECT_THAT(ParseMetadataset(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << text;
  }
}

TEST(SubsetTest, ComposesFromTheInsideOut) {
  const Subset inner = {.begin = 0.25, .end = 0.75};
  const Subset outer = {.begin = 0, .end = 0.5};
  EXPECT_EQ(Compose(inner, outer), (Subset{.begin = 0.25, .end = 0.5}));
  const Subset samples = {.samples = Subset::Samples{12, 48}};
  EXPECT_THAT(Apply(Compose(samples, inner), 55), IsOkAndHolds(IndexRange{21, 18}));
  EXPECT_THAT(Apply({.begin = 0.2, .end = 0.6}, 55), IsOkAndHolds(IndexRange{11, 22}));
  EXPECT_THAT(Apply({.samples = Subset::Samples{.begin = 10}}, 55),
              IsOkAndHolds(IndexRange{10, 45}));
  EXPECT_THAT(Apply({.samples = Subset::Samples{10, 56}}, 55),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the range is [10, 56]; of 55 samples")));
}

class ReadBlendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const TestDataSet& set : GoldenDataSets()) MakeTestDataSet(folder_, set);
  }

  void Write(std::string_view name, std::string_view splits) {
    ASSERT_THAT(WriteFileAtomically(folder_ / name, File(splits)), IsOk());
  }

  absl::Status Error(std::string_view splits, const BlendRequest& request = {}) {
    Write("m.yaml", splits);
    return ReadBlend(folder_ / "m.yaml", request).status();
  }

  fs::path folder_ = FreshFolder("blend");
};

TEST_F(ReadBlendTest, WeightsAreSharesOfEachLevel) {
  Write("inner.yaml", "  train: {blend: [{weight: 1, path: ds1}, {weight: 3, path: ds2}]}");
  Write("nest.yaml", "  train: {blend: [{weight: 3, path: inner.yaml}, {weight: 1, path: ds3}]}");
  const absl::StatusOr<BlendedFolders> blend = ReadBlend(folder_ / "nest.yaml");
  ASSERT_THAT(blend, IsOk());
  ASSERT_EQ(blend->splits.size(), 3);
  EXPECT_EQ(blend->splits[0].share, 0.75 * 0.25);
  EXPECT_EQ(blend->splits[1].share, 0.75 * 0.75);
  EXPECT_EQ(blend->splits[2].share, 0.25);
}

TEST_F(ReadBlendTest, AFolderIsItsOwnBlend) {
  const absl::StatusOr<BlendedFolders> blend = ReadBlend(folder_ / "cut");
  ASSERT_THAT(blend, IsOk());
  EXPECT_EQ(blend->mode, BlendMode::kNone);
  const SplitSamples& samples = blend->splits[0].samples;
  EXPECT_THAT(samples.shards, ElementsAre("parts/data-0.tar", "parts/data-2.tar"));
  EXPECT_THAT(samples.shard_borders, ElementsAre(0, 10, 20));
  EXPECT_THAT(samples.excluded, ElementsAre(0, 4, 13));
  EXPECT_EQ(samples.Find(9).shard, "parts/data-0.tar");
  EXPECT_EQ(samples.Find(9).index, 9);
  EXPECT_EQ(samples.Find(10).shard, "parts/data-2.tar");
  EXPECT_EQ(samples.Find(19).index, 9);
}

TEST_F(ReadBlendTest, MultipliersOfAllLevelsCount) {
  Write("inner.yaml",
        "  train: {blend: [{path: ds1, shuffle_over_epochs_multiplier: 3},"
        " {path: ds2, shuffle_over_epochs_multiplier: -1},"
        " {path: ds3, shuffle_over_epochs_multiplier: null}]}");
  Write("outer.yaml", "  train: {path: inner.yaml, shuffle_over_epochs_multiplier: 2}");
  const auto epochs = [&](const BlendRequest& request) {
    std::vector<std::optional<int64_t>> all;
    const BlendedFolders blend = ReadBlend(folder_ / "outer.yaml", request).value();
    for (const BlendedSplit& split : blend.splits) {
      all.push_back(split.shuffle_over_epochs);
    }
    return all;
  };
  EXPECT_THAT(epochs({}), ElementsAre(6, kWithReplacement, std::nullopt));
  EXPECT_THAT(epochs({.shuffle_over_epochs = kWithReplacement}),
              ElementsAre(kWithReplacement, kWithReplacement, std::nullopt));
  EXPECT_THAT(epochs({.shuffle_over_epochs = std::nullopt}),
              ElementsAre(std::nullopt, std::nullopt, std::nullopt));
}

TEST_F(ReadBlendTest, OuterFilesDecideSplitAndSubflavors) {
  Write("inner.yaml", "  fine: {path: ds1, split_part: train, subflavors: {a: 1, b: 2}}");
  Write("outer.yaml", "  train: {path: inner.yaml, split_part: fine, subflavors: {b: 3}}");
  const absl::StatusOr<BlendedFolders> blend = ReadBlend(folder_ / "outer.yaml");
  ASSERT_THAT(blend, IsOk());
  EXPECT_EQ(blend->folders[0].split, "train");
  EXPECT_THAT(blend->folders[0].subflavors, ElementsAre(Pair("a", "1"), Pair("b", "3")));
}

TEST_F(ReadBlendTest, RefusalsNameFileAndField) {
  Write("epochs.yaml", "  train: {blend_epochized: [{path: ds1}]}");
  Write("blend.yaml", "  train: {blend: [{path: ds1}]}");
  const Refusal refusals[] = {
      {"  train: {blend: [{path: epochs.yaml}]}",
       "m.yaml: splits.train.blend[0].path is \"epochs.yaml\", a blend by repetitions; within"},
      {"  train: {blend_epochized: [{path: blend.yaml}]}", "a blend by weights; within a blend by"},
      {"  train: {path: m.yaml}", "m.yaml refers to itself"},
      {"  train: {path: blend.yaml, subset: {range: [1, 2]}}",
       "splits.train: subset.range in samples is set for the metadataset"},
      {"  train: {blend: [{path: ds1}], subset: {range: [1, 2]}}",
       "splits.train.subset.range is in samples; of a blend percentages are accepted"},
      {"  train: {path: blend.yaml, split_config: x.yaml}", "split_config is set for the metadata"},
      {"  train: {path: blend.yaml, aux: {m: ds2}}", "aux is set for the metadataset"},
      {"  train: {path: ds2, subset: {range: [1, 8]}}",
       "splits.train: the range is [1, 8]; of 7 samples, 0 <= begin <= end <= 7 is accepted"},
  };
  ASSERT_THAT(WriteFileAtomically(folder_ / "x.jsonl", "{}"), IsOk());
  for (const auto& [splits, message] : refusals) {
    EXPECT_THAT(Error(splits), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << splits;
  }
  EXPECT_THAT(Error("  train: {path: x.jsonl}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a metadataset, \".yaml\"")));
  EXPECT_THAT(Error("  val: {path: ds1}"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("m.yaml: splits has no \"train\"; it has val")));
  EXPECT_THAT(
      Error("  train: {path: ds9}"),
      StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("m.yaml: splits.train: data set "),
                                                  HasSubstr("there is no folder"))));
  EXPECT_THAT(Error("  val: {path: ds1}", {.split = "val"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no split \"val\"")));
  EXPECT_THAT(Error("  train: {path: ds1, aux: {m: ds9}}"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("aux.m is \"ds9\", which has no .nv-meta/index.sqlite")));
  EXPECT_THAT(Error("  train: {path: ds1, aux: {m: ds2, f: \"filesystem://nowhere\"}}"), IsOk());
}

}  // namespace
}  // namespace hetero::data
