// Folders as Megatron-Energon, release 7.4.1, reads and writes them.

#include <filesystem>
#include <fstream>
#include <string_view>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/metadata_folder.h"
#include "hetero/data/webdataset/shard_files.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::Pair;

TEST(ReferenceFolderTest, ShardsAreInTheOrderOfTheirPathsComponents) {
  const fs::path root = FreshFolder("order");
  for (const std::string_view name : {"a/b.tar", "a-b.tar", "A.tar", "z10.tar", "z9.tar", "a.tar",
                                      "a/c/d.tar", ".h.tar", ".hd/x.tar"}) {
    fs::create_directories((root / name).parent_path());
    std::ofstream(root / name) << "tar";
  }
  EXPECT_THAT(
      FindShards(root).value().shards,
      ElementsAre("A.tar", "a/b.tar", "a/c/d.tar", "a-b.tar", "a.tar", "z10.tar", "z9.tar"));
}

TEST(ReferenceFolderTest, TheShardListOfOlderReleasesIsReadUnlessThereIsANewOne) {
  const fs::path root = FreshFolder("info");
  const fs::path folder = root / kMetadataFolder;
  fs::create_directories(folder);
  ASSERT_THAT(WriteFileAtomically(folder / kOldInfoFile, "shard_counts:\n  z.tar: 3\n  a.tar: 1\n"),
              IsOk());
  EXPECT_THAT(ReadDatasetInfo(root).value().shard_counts,
              ElementsAre(Pair("z.tar", 3), Pair("a.tar", 1)));
  ASSERT_THAT(WriteFileAtomically(folder / kInfoFile, R"({"shard_counts": {"b.tar": 2}})"), IsOk());
  EXPECT_THAT(ReadDatasetInfo(root).value().shard_counts, ElementsAre(Pair("b.tar", 2)));
}

}  // namespace
}  // namespace hetero::data
