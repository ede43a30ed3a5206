// Where samples and their members lie by Megatron-Energon's preparation, release 7.4.1.

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/tar/entry_testing.h"
#include "hetero/data/tar/format.h"
#include "hetero/data/tar/scanner.h"

namespace hetero::data {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

ShardContents Scan(const std::string& bytes) {
  return ScanShard(MemoryFile(bytes), "s.tar").value();
}

// Extensions and payload offsets of each sample behind its key.
std::vector<std::pair<std::string, std::string>> Parts(const ShardContents& contents) {
  std::vector<std::pair<std::string, std::string>> parts;
  for (const SampleEntry& sample : contents.samples) {
    std::string all;
    for (const PartEntry& part : sample.parts) {
      all += part.extension + "@" + std::to_string(part.payload_offset) + " ";
    }
    parts.emplace_back(sample.key, all);
  }
  return parts;
}

TEST(ReferenceOffsetsTest, APaxHeaderOfATimeIsPartOfItsMember) {
  std::string tar;
  for (const char* const name : {"000000.txt", "000001.txt", "000002.txt"}) {
    tar += Entry("PaxHeader", FormatPaxRecord("mtime", "1700000000.25"), 'x') + Entry(name, "7");
  }
  const ShardContents contents = Scan(tar + EndMarker());
  EXPECT_THAT(contents.Index(), ElementsAre(0, 2048, 4096, 6144));
  EXPECT_THAT(Parts(contents), ElementsAre(Pair("000000", "txt@1536 "), Pair("000001", "txt@3584 "),
                                           Pair("000002", "txt@5632 ")));
}

TEST(ReferenceOffsetsTest, NamesWithDotsAndFolders) {
  std::string tar;
  for (const char* const name : {"d/a.jpg", "d/a.json", "__meta__/x.json", "__m__", "noext",
                                 "d/.hid.jpg", "b.tar.gz", "./c.txt", "A.JPG"}) {
    tar += Entry(name, "7");
  }
  EXPECT_THAT(
      Parts(Scan(tar + EndMarker())),
      ElementsAre(Pair("d/a", "jpg@512 json@1536 "), Pair("d/", "hid.jpg@5632 "),
                  Pair("b", "tar.gz@6656 "), Pair("./c", "txt@7680 "), Pair("A", "JPG@8704 ")));
}

TEST(ReferenceOffsetsTest, NamesThatAreHiddenAndThatLookLikeIt) {
  std::string tar;
  for (const char* const name : {"__x__.txt", "____", "____/a.b", ".top.jpg", "a.b/.c", "a.b/c",
                                 "e.", "z/__x__/k.txt", "__x__y/k.txt"}) {
    tar += Entry(name, "7");
  }
  const ShardContents contents = Scan(tar + EndMarker());
  EXPECT_THAT(contents.Index(), ElementsAre(0, 6144, 7168, 8192, 9216));
  EXPECT_THAT(Parts(contents),
              ElementsAre(Pair("__x__", "txt@512 "), Pair("e", "@6656 "),
                          Pair("z/__x__/k", "txt@7680 "), Pair("__x__y/k", "txt@8704 ")));
}

TEST(ReferenceOffsetsTest, AGlobalHeaderIsNoPartOfTheFirstSample) {
  const std::string global = Entry("global", FormatPaxRecord("comment", "hello"), 'g');
  EXPECT_THAT(Scan(global + Entry("a.txt", "a") + Entry("b.txt", "b") + EndMarker()).Index(),
              ElementsAre(1024, 2048, 3072));
}

}  // namespace
}  // namespace hetero::data
