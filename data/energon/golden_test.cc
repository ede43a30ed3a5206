// Against what megatron-energon 7.4.1 read: testdata/generate.py.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/energon/folder_testing.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/loader_testing.h"
#include "hetero/data/energon/rank_loader.h"
#include "hetero/data/energon/read_blend.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;

constexpr std::string_view kTestdata = "data/energon/testdata";

std::vector<std::string> Lines(std::string_view file) {
  const std::string text = ReadFile(fs::path(kTestdata) / file).value();
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

// The data sets and metadatasets of the fixtures.
fs::path MakeFolder() {
  const fs::path folder = FreshFolder("golden");
  for (const TestDataSet& set : GoldenDataSets()) MakeTestDataSet(folder, set);
  for (const auto& entry : fs::directory_iterator(kTestdata)) {
    if (entry.path().extension() != ".yaml") continue;
    fs::copy_file(entry.path(), folder / entry.path().filename());
  }
  return folder;
}

struct Case {
  std::string line;
  std::vector<Numbers> ranks;
};

std::vector<Case> ReadCases() {
  std::vector<Case> cases;
  for (const std::string& line : Lines("orders.txt")) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words[0] == "case") {
      cases.push_back({.line = line});
    } else {
      cases.back().ranks.push_back(
          ParseNumbers(absl::StrJoin(words.begin() + 2, words.end(), " ")));
    }
  }
  return cases;
}

int64_t NumberOf(const std::map<std::string, std::string>& fields, const std::string& name,
                 int64_t otherwise) {
  const auto field = fields.find(name);
  if (field == fields.end()) return otherwise;
  int64_t value = 0;
  EXPECT_TRUE(absl::SimpleAtoi(field->second, &value)) << name;
  return value;
}

struct CaseLoader {
  std::string line;
  std::vector<Numbers> ranks;  // what they read with Energon
  std::shared_ptr<const LoaderPlan> plan;
  Numbers bases;
};

CaseLoader MakeCaseLoader(const fs::path& folder, Case of) {
  std::map<std::string, std::string> fields;
  for (const std::string_view word : absl::StrSplit(of.line, ' ')) {
    const std::pair<std::string, std::string> field = absl::StrSplit(word, '=');
    fields.insert(field);
  }
  const bool is_training = !fields.contains("split");
  const BlendedFolders blend =
      ReadBlend(folder / fields["path"],
                {.split = is_training ? "train" : "val",
                 .shuffle_over_epochs = NumberOf(fields, "shuffle_over_epochs", 1)})
          .value();
  LoaderOptions options = {.splits = blend.splits,
                           .mode = blend.mode,
                           .shape = {.num_ranks = NumberOf(fields, "ranks", 0),
                                     .num_workers = NumberOf(fields, "workers", 0)},
                           .is_training = is_training,
                           .seed_offset = NumberOf(fields, "seed_offset", 0),
                           .shuffle_buffer_size = NumberOf(fields, "shuffle_buffer_size", 0),
                           .batch_size = NumberOf(fields, "batch_size", 1),
                           .virtual_epoch_length = NumberOf(fields, "virtual_epoch_length", 0),
                           .repeats = NumberOf(fields, "repeat", 1) != 0};
  if (fields.contains("max_samples_per_sequence")) {
    options.max_samples_per_sequence = NumberOf(fields, "max_samples_per_sequence", 0);
  }
  CaseLoader loader = {.line = std::move(of.line),
                       .ranks = std::move(of.ranks),
                       .plan = LoaderPlan::Make(options).value()};
  for (const BlendedFolder& blended : blend.folders) {
    for (const TestDataSet& set : GoldenDataSets()) {
      if (blended.folder.filename() == set.name) loader.bases.push_back(set.base);
    }
  }
  return loader;
}

std::vector<CaseLoader> MakeCaseLoaders() {
  const fs::path folder = MakeFolder();
  std::vector<CaseLoader> loaders;
  for (Case& of : ReadCases()) loaders.push_back(MakeCaseLoader(folder, std::move(of)));
  return loaders;
}

// What a rank gives, up to as many numbers and ends of rounds as `like` has.
Numbers ReadLike(RankLoader& loader, const Numbers& bases, const Numbers& like) {
  Numbers numbers;
  while (numbers.size() < like.size()) {
    const std::vector<SampleReference> batch = loader.Next();
    if (batch.empty()) numbers.push_back(kEnd);
    for (const auto& [data_set, place] : batch) numbers.push_back(bases[data_set] + place);
  }
  return numbers;
}

TEST(GoldenTest, RanksReadWhatTheyReadWithEnergon) {
  const std::vector<CaseLoader> cases = MakeCaseLoaders();
  ASSERT_GE(cases.size(), 41);
  for (const auto& [line, ranks, plan, bases] : cases) {
    SCOPED_TRACE(line);
    ASSERT_EQ(std::ssize(ranks), plan->options().shape.num_ranks);
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      RankLoader loader(plan, static_cast<int64_t>(rank));
      EXPECT_EQ(ReadLike(loader, bases, ranks[rank]), ranks[rank]) << "rank " << rank;
    }
  }
}

// Batches of one, without end.
bool IsPlain(const LoaderOptions& options) {
  return options.is_training && options.repeats && options.batch_size == 1 &&
         options.virtual_epoch_length == 0;
}

// Between cases of the same settings but for the shape, of which all workers are as many.
TEST(GoldenTest, AStateOfOneShapeGoesOnInAnother) {
  const std::vector<CaseLoader> cases = MakeCaseLoaders();
  int num_pairs = 0;
  for (const CaseLoader& from : cases) {
    for (const CaseLoader& to : cases) {
      if (from.line == to.line || !IsPlain(from.plan->options()) || !IsPlain(to.plan->options()) ||
          Describe(from.plan->options()) != Describe(to.plan->options())) {
        continue;
      }
      ++num_pairs;
      SCOPED_TRACE(absl::StrCat(from.line, " to ", to.line));
      constexpr int64_t kBatches = 11;  // of each worker
      const LoaderShape& before = from.plan->options().shape;
      const LoaderShape& after = to.plan->options().shape;
      std::vector<std::string> records;
      for (int64_t rank = 0; rank < before.num_ranks; ++rank) {
        RankLoader loader(from.plan, rank);
        Read(loader, from.bases, kBatches * before.WorkersOfRank());
        for (std::string& record : loader.Save()) records.push_back(std::move(record));
      }
      for (int64_t rank = 0; rank < after.num_ranks; ++rank) {
        absl::StatusOr<RankLoader> loader = RankLoader::Restore(to.plan, rank, records);
        ASSERT_THAT(loader, IsOk());
        const Numbers rest(to.ranks[rank].begin() + kBatches * after.WorkersOfRank(),
                           to.ranks[rank].end());
        EXPECT_EQ(ReadLike(*loader, to.bases, rest), rest) << "rank " << rank;
      }
    }
  }
  EXPECT_GE(num_pairs, 16);
}

std::string_view NameOf(BlendMode mode) {
  switch (mode) {
    case BlendMode::kNone:
      return "none";
    case BlendMode::kWeights:
      return "dataset_weight";
    case BlendMode::kRepetitions:
      return "sample_repetitions";
  }
  return "";
}

TEST(GoldenTest, MetadatasetsComeToWhatTheyComeToWithEnergon) {
  const fs::path folder = MakeFolder();
  BlendedFolders blend;
  size_t i = 0;
  for (const std::string& line : Lines("leaves.txt")) {
    SCOPED_TRACE(line);
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words[0] == "file") {
      EXPECT_EQ(i, blend.splits.size());
      blend = ReadBlend(folder / words[1]).value();
      EXPECT_EQ(NameOf(blend.mode), words[2]);
      i = 0;
      continue;
    }
    ASSERT_LT(i, blend.splits.size());
    const BlendedSplit& split = blend.splits[i];
    EXPECT_EQ(blend.folders[i].folder.filename(), words[1]);
    double share = 0;
    ASSERT_TRUE(absl::SimpleAtod(words[2], &share));
    EXPECT_EQ(split.share, share);
    EXPECT_EQ(absl::StrCat(split.samples.range().first), words[3]);
    EXPECT_EQ(absl::StrCat(split.samples.range().end()), words[4]);
    EXPECT_EQ(absl::StrCat(split.shuffle_over_epochs.value()), words[5]);
    const std::string flavors =
        absl::StrJoin(blend.folders[i].subflavors, ",", absl::PairFormatter(":"));
    EXPECT_EQ(flavors.empty() ? "-" : flavors, words[6]);
    ++i;
  }
  EXPECT_EQ(i, blend.splits.size());
}

}  // namespace
}  // namespace hetero::data
