// Shards of a data set while it is read.

#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// A prepared data set of so many shards, each of two samples. Returns the names of its shards.
std::vector<std::string> MakeShards(const fs::path& root, int num_shards) {
  std::vector<std::string> names;
  for (int shard = 0; shard < num_shards; ++shard) {
    names.push_back(absl::StrCat(shard, ".tar"));
    TarWriter writer = TarWriter::Create(root / names.back()).value();
    for (int i = 0; i < 2; ++i) {
      EXPECT_THAT(writer.Add(absl::StrFormat("k%d_%d.txt", shard, i), "text"), IsOk());
    }
    EXPECT_THAT(writer.Close(), IsOk());
  }
  EXPECT_THAT(
      PrepareDataset(root, {.splits = {{"train", names}}, .fields = TextFields{.text = "txt"}}),
      IsOk());
  return names;
}

// The files are gone after the first pass: a shard that is opened again would not be there.
TEST(ShardsOfADatasetTest, AreOpenedOnce) {
  const fs::path root = FreshFolder("many_shards");
  const std::vector<std::string> names = MakeShards(root, 100);
  const std::shared_ptr<const Dataset> dataset = Dataset::Open(root, "train").value();
  RawSample sample;
  for (int64_t i = 0; i < dataset->size(); i += 2) ASSERT_THAT(dataset->Read(i, sample), IsOk());
  for (const std::string& name : names) fs::remove(root / name);
  for (int64_t i = 1; i < dataset->size(); i += 2) {
    ASSERT_THAT(dataset->Read(i, sample), IsOk()) << sample.shard;
  }
}

size_t NumOpenFiles() {
  const fs::directory_iterator files("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

// More data sets than the process has descriptors for, were each to keep 64 shards open.
TEST(ShardsOfADatasetTest, OfAllDataSetsTogetherAreNoMoreThanTheProcessMayOpen) {
  const fs::path root = FreshFolder("many_sets");
  MakeShards(root, 70);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit fewer = {.rlim_cur = 300, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &fewer), 0);
  const size_t others = NumOpenFiles();
  std::vector<std::shared_ptr<const Dataset>> datasets;
  for (int set = 0; set < 5; ++set) datasets.push_back(Dataset::Open(root, "train").value());
  RawSample sample;
  for (const auto& dataset : datasets) {
    for (int64_t i = 0; i < dataset->size(); ++i) ASSERT_THAT(dataset->Read(i, sample), IsOk());
  }
  EXPECT_LE(NumOpenFiles() - others, 75);
  EXPECT_GE(NumOpenFiles() - others, 70);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

// A pool that has the files of all for itself makes room for those that come later.
TEST(ShardsOfADatasetTest, AreClosedForDataSetsThatComeLater) {
  const fs::path root = FreshFolder("later_sets");
  MakeShards(root, 70);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit fewer = {.rlim_cur = 300, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &fewer), 0);
  const size_t others = NumOpenFiles();
  const std::shared_ptr<const Dataset> first = Dataset::Open(root, "train").value();
  RawSample sample;
  for (int64_t i = 0; i < first->size(); ++i) ASSERT_THAT(first->Read(i, sample), IsOk());
  EXPECT_EQ(NumOpenFiles() - others, 70);
  std::vector<std::shared_ptr<const Dataset>> later;
  for (int set = 0; set < 4; ++set) later.push_back(Dataset::Open(root, "train").value());
  for (int64_t shard = 0; shard < 70; ++shard) {
    ASSERT_THAT(first->Read(2 * shard, sample), IsOk());
    for (const auto& dataset : later) ASSERT_THAT(dataset->Read(2 * shard, sample), IsOk());
  }
  EXPECT_LE(NumOpenFiles() - others, 70 + 4 * 15);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(ShardsOfADatasetTest, AreNamedWhenTheyAreGone) {
  const fs::path root = FreshFolder("vanished");
  TarWriter writer = TarWriter::Create(root / "a.tar").value();
  ASSERT_THAT(writer.Add("k.txt", "text"), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  ASSERT_THAT(
      PrepareDataset(root, {.splits = {{"train", {"a.tar"}}}, .fields = TextFields{.text = "txt"}}),
      IsOk());
  const std::shared_ptr<const Dataset> dataset = Dataset::Open(root, "train").value();
  fs::remove(root / "a.tar");
  RawSample sample;
  EXPECT_THAT(dataset->Read(0, sample),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("shard a.tar is missing")));
}

}  // namespace
}  // namespace hetero::data
