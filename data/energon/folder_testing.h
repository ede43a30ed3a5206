#ifndef HETERO_DATA_ENERGON_FOLDER_TESTING_H_
#define HETERO_DATA_ENERGON_FOLDER_TESTING_H_

// Folders of prepared data sets without shards: what the order of samples is made of.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/tar/scanner.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/sample_index.h"

namespace hetero::data {

struct TestDataSet {
  std::string name;
  int64_t base = 0;  // of the numbers that its samples hold
  std::vector<int64_t> shards;
  std::vector<std::string> exclude;
};

// Those of testdata/generate.py.
inline std::vector<TestDataSet> GoldenDataSets() {
  return {
      {"ds1", 0, {10, 10, 10, 10, 10, 5}, {}},
      {"ds2", 100, {7}, {}},
      {"ds3", 200, {10, 10, 10, 10, 10, 5}, {}},
      {"odd", 300, {7, 1, 9, 4, 2}, {}},
      {"cut",
       400,
       {10, 10, 10},
       {"parts/data-1.tar", "parts/data-2.tar/000413", "parts/data-0.tar/00040{0,4}"}},
  };
}

// Keys count from the base, those of shards that are excluded apart.
inline void MakeTestDataSet(const std::filesystem::path& root, const TestDataSet& set) {
  const std::filesystem::path folder = root / set.name / kMetadataFolder;
  std::filesystem::create_directories(folder);
  DatasetInfo info = {.energon_version = "7.4.1", .shard_counts = {}};
  SplitConfig config = {.parts = {{"train", {}}}, .exclude = set.exclude};
  absl::StatusOr<std::unique_ptr<SampleIndexWriter>> index =
      SampleIndexWriter::Create(folder / kIndexFile);
  ASSERT_TRUE(index.ok()) << index.status();
  int64_t number = set.base;
  for (size_t k = 0; k < set.shards.size(); ++k) {
    const std::string name = absl::StrFormat("parts/data-%d.tar", k);
    info.shard_counts.emplace_back(name, set.shards[k]);
    config.parts[0].second.push_back(name);
    const bool is_excluded =
        std::find(set.exclude.begin(), set.exclude.end(), name) != set.exclude.end();
    ShardContents contents;
    for (int64_t i = 0; i < set.shards[k]; ++i) {
      contents.samples.push_back(
          {.key = is_excluded ? absl::StrCat("x", i) : absl::StrFormat("%06d", number++),
           .parts = {}});
    }
    ASSERT_TRUE((*index)->AddShard(static_cast<int64_t>(k), name, contents).ok());
  }
  ASSERT_TRUE((*index)->Close().ok());
  ASSERT_TRUE(WriteFileAtomically(folder / kInfoFile, FormatDatasetInfo(info)).ok());
  ASSERT_TRUE(WriteFileAtomically(folder / kSplitFile, FormatSplitConfig(config)).ok());
}

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_FOLDER_TESTING_H_
