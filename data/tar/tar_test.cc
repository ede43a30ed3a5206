#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/tar/entry_testing.h"
#include "hetero/data/tar/format.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/scanner.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ShardContents Scan(const std::string& bytes) {
  return ScanShard(MemoryFile(bytes), "s.tar").value();
}

absl::Status ScanError(const std::string& bytes) {
  return ScanShard(MemoryFile(bytes), "s.tar").status();
}

std::vector<std::string> Keys(const ShardContents& contents) {
  std::vector<std::string> keys;
  for (const SampleEntry& sample : contents.samples) keys.push_back(sample.key);
  return keys;
}

// Header fields as another writer would lay them out.
void PutField(std::string& block, size_t offset, std::string_view text) {
  block.replace(offset, text.size(), text);
}

void PutChecksum(std::string& block) {
  PutField(block, 148, "        ");
  int sum = 0;
  for (size_t i = 0; i < kTarBlockBytes; ++i) sum += static_cast<unsigned char>(block[i]);
  PutField(block, 148, absl::StrFormat("%06o", sum));
  block[154] = '\0';
}

TEST(MemberNameTest, SplitsAtTheFirstDotOfTheLastComponent) {
  const std::vector<std::tuple<std::string, std::string, std::string>> kept = {
      {"d/a.jpg", "d/a", "jpg"},
      {"b.tar.gz", "b", "tar.gz"},
      {"A.JPG", "A", "JPG"},
      {"./c.txt", "./c", "txt"},
      {"d/.hid.jpg", "d/", "hid.jpg"},
      {"e.", "e", ""},
      {"__x__.txt", "__x__", "txt"},
      {"__x__y/k.txt", "__x__y/k", "txt"},
      {"z/__x__/k.txt", "z/__x__/k", "txt"}};
  for (const auto& [name, base, extension] : kept) {
    const std::optional<MemberName> split = SplitMemberName(name);
    ASSERT_TRUE(split.has_value()) << name;
    EXPECT_EQ(split->base, base);
    EXPECT_EQ(split->extension, extension);
  }
  for (const std::string_view name : {"noext", ".hid.jpg", "a.b/.c", "a.b/c", "__meta__/x.json",
                                      "__m__", "____", "____/a.b", ""}) {
    EXPECT_FALSE(SplitMemberName(name).has_value()) << name;
  }
}

TEST(ScanTest, GroupsAdjacentMembersAndKeepsOffsets) {
  const ShardContents contents =
      Scan(Entry("d/a.jpg", "1") + Entry("d/a.json", "2") + Entry("__meta__/x.json", "3") +
           Entry("__m__", "4") + Entry("noext", "5") + Entry("d/.hid.jpg", "6") +
           Entry("b.tar.gz", "7") + Entry("./c.txt", "8") + Entry("A.JPG", "9") + EndMarker());
  EXPECT_THAT(contents.Index(), ElementsAre(0, 5120, 6144, 7168, 8192, 9216));
  EXPECT_THAT(Keys(contents), ElementsAre("d/a", "d/", "b", "./c", "A"));
  ASSERT_EQ(contents.samples[0].parts.size(), 2);
  EXPECT_EQ(contents.samples[0].parts[1].extension, "json");
  EXPECT_EQ(contents.samples[0].parts[1].payload_offset, 1536);
  EXPECT_TRUE(contents.has_end_marker);
}

TEST(ScanTest, LeadingIgnoredMembersAndDirectoriesLieOutsideTheIndex) {
  std::string folder = Entry("dir/", "", '5');
  PutField(folder, 124, "00000001000");  // some writers give folders a size
  PutChecksum(folder);
  EXPECT_THAT(Scan(Entry("__x__/skip.txt", "x") + Entry("a.txt", "a") + folder +
                   Entry("b.txt", "b") + EndMarker())
                  .Index(),
              ElementsAre(1024, 2560, 3584));
}

TEST(ScanTest, LastPartWithAnExtensionWins) {
  const ShardContents contents =
      Scan(Entry("a.txt", "1") + Entry("a.txt", "2") + Entry("b.txt", "3") + EndMarker());
  EXPECT_THAT(contents.Index(), ElementsAre(0, 2048, 3072));
  ASSERT_EQ(contents.samples[0].parts.size(), 1);
  EXPECT_EQ(contents.samples[0].parts[0].payload_offset, 1536);
}

TEST(ScanTest, LongNamesAndPaxRecordsBelongToTheNextMember) {
  const std::string long_base(150, 'n');
  const std::string gnu = Entry("././@LongLink", long_base + ".txt" + std::string(1, '\0'), 'L') +
                          Entry(long_base.substr(0, 100), "1");
  const std::string pax =
      Entry("PaxHeader",
            FormatPaxRecord("mtime", "1.5") + FormatPaxRecord("path", long_base + "2.txt"), 'x') +
      Entry("short.bin", "2");
  const std::string global = Entry("global", FormatPaxRecord("comment", "hello"), 'g');
  const ShardContents contents = Scan(global + gnu + pax + Entry("c.txt", "3") + EndMarker());
  EXPECT_THAT(Keys(contents), ElementsAre(long_base, long_base + "2", "c"));
  EXPECT_THAT(contents.Index(), ElementsAre(1024, 3072, 5120, 6144));
}

TEST(ScanTest, PaxSizeReplacesTheFieldOfTheHeader) {
  std::string member = Entry("a.txt", "abc");
  PutField(member, 124, "00000000000");
  PutChecksum(member);
  const ShardContents contents = Scan(Entry("p", FormatPaxRecord("size", "3"), 'x') + member +
                                      Entry("b.txt", "b") + EndMarker());
  EXPECT_EQ(contents.samples[0].parts[0].payload_size, 3);
  EXPECT_THAT(Keys(contents), ElementsAre("a", "b"));
}

TEST(ScanTest, ReadsUstarPrefixBinarySizesAndSignedChecksums) {
  std::string prefixed = Entry("a.txt", "abc");
  PutField(prefixed, 345, "some/folder");
  PutChecksum(prefixed);
  std::string binary_size = Entry("b.txt", "abc");
  PutField(binary_size, 124, std::string("\x80\0\0\0\0\0\0\0\0\0\0\3", 12));
  PutChecksum(binary_size);
  const ShardContents contents = Scan(prefixed + binary_size + EndMarker());
  EXPECT_THAT(Keys(contents), ElementsAre("some/folder/a", "b"));
  EXPECT_EQ(contents.samples[1].parts[0].payload_size, 3);
}

TEST(ScanTest, DamageIsNamedWithShardOffsetAndMember) {
  const std::string a = Entry("a.txt", "aaa");
  const std::string c = Entry("c.txt", "ccc");
  const std::string whole = a + Entry("b.txt", "bbb") + c;
  EXPECT_THAT(ScanError(whole.substr(0, whole.size() - 1)),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("s.tar"), HasSubstr("c.txt"), HasSubstr("2048"))));
  EXPECT_THAT(ScanError(whole.substr(0, 2048 + 100)),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("byte 2048"), HasSubstr("100 of the header's"))));
  std::string bad_header = whole + EndMarker();
  bad_header[1024] ^= 1;
  EXPECT_THAT(
      ScanError(bad_header),
      StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("byte 1024"), HasSubstr("checksum"))));
}

TEST(ScanTest, MissingEndMarkerIsAcceptedAndReported) {
  const ShardContents contents = Scan(Entry("a.txt", "a") + Entry("b.txt", "b"));
  EXPECT_EQ(contents.samples.size(), 2);
  EXPECT_FALSE(contents.has_end_marker);
  EXPECT_EQ(contents.end_offset, 2048);
}

TEST(ScanTest, SparseMembersAreRefusedByName) {
  EXPECT_THAT(ScanError(Entry("a.bin", "x", 'S') + EndMarker()),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("a.bin")));
}

TEST(PaxTest, RecordLengthCountsItself) {
  for (const size_t size : {0, 1, 80, 88, 89, 90, 91, 990, 991, 992, 993}) {
    const std::string path(size, 'p');
    const std::string record = FormatPaxRecord("path", path);
    EXPECT_EQ(absl::StrCat(record.size()), record.substr(0, record.find(' ')));
    EXPECT_EQ(ParsePaxRecords(record).value().path, path);
  }
}

TEST(TarWriterTest, ArchivesHaveTheSizesOfStandardTools) {
  for (const auto& [num_samples, size] : {std::pair(5, 10240), std::pair(10, 20480)}) {
    const std::filesystem::path path = FreshFolder("sizes") / "data.tar";
    TarWriter writer = TarWriter::Create(path).value();
    for (int i = 0; i < num_samples; ++i) {
      ASSERT_THAT(writer.Add(absl::StrFormat("%06d.txt", i), "7"), IsOk());
    }
    ASSERT_THAT(writer.Close(), IsOk());
    EXPECT_EQ(std::filesystem::file_size(path), size);
  }
}

// Writes samples of random shapes; returns the payloads as sample -> part.
class ShardTest : public ::testing::Test {
 protected:
  void Write(int num_samples) {
    path_ = FreshFolder("shard") / "data-0.tar";
    TarWriter writer = TarWriter::Create(path_).value();
    for (int i = 0; i < num_samples; ++i) {
      const std::string key = (i % 5 == 4 ? std::string(120, 'k') : "k") + absl::StrCat(i);
      std::string image(random_() % 2000, static_cast<char>(i));
      ASSERT_THAT(writer.Add(key + ".png", image), IsOk());
      ASSERT_THAT(writer.Add(key + ".txt", absl::StrCat("caption ", i)), IsOk());
      images_.push_back(std::move(image));
    }
    ASSERT_THAT(writer.Close(), IsOk());
    const auto file = OpenFile(path_).value();
    ASSERT_THAT(WriteTarIndex(path_, ScanShard(*file, "data-0.tar").value().Index()), IsOk());
  }

  std::mt19937_64 random_ = FreshGenerator();
  std::filesystem::path path_;
  std::vector<std::string> images_;
};

TEST_F(ShardTest, AnySampleComesBackWithItsBytes) {
  Write(40);
  const auto shard = TarShard::Open(path_, "data-0.tar").value();
  ASSERT_EQ(shard->num_samples(), 40);
  RawSample sample;
  for (int i = 39; i >= 0; --i) {
    ASSERT_THAT(shard->Read(i, sample), IsOk());
    ASSERT_EQ(sample.parts.size(), 2);
    EXPECT_EQ(sample.Find("png")->bytes, images_[i]);
    EXPECT_EQ(sample.Find("txt")->bytes, absl::StrCat("caption ", i));
    EXPECT_TRUE(sample.key.ends_with(absl::StrCat("k", i)));
    EXPECT_EQ(sample.Find("jpg"), nullptr);
  }
}

TEST_F(ShardTest, AnyMemberComesBackWithoutTheOthersOfItsSample) {
  Write(40);
  const auto shard = TarShard::Open(path_, "data-0.tar").value();
  RawSample sample;
  std::string bytes;
  for (int i = 0; i < 40; ++i) {
    ASSERT_THAT(shard->Read(i, sample), IsOk());
    EXPECT_THAT(shard->ReadMember(i, sample.key, "png", bytes), IsOkAndHolds(true));
    EXPECT_EQ(bytes, images_[i]);
    EXPECT_THAT(shard->ReadMember(i, sample.key, "jpg", bytes), IsOkAndHolds(false));
  }
  EXPECT_THAT(shard->ReadMember(3, "k4", "png", bytes),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("it is looked up for sample \"k4\""),
                             HasSubstr("the tar was changed after its index was made"))));
}

TEST_F(ShardTest, MissingFilesAndShortTarsAreCaughtBeforeReading) {
  Write(10);
  EXPECT_THAT(CheckShard(path_, "data-0.tar", 10), IsOk());
  EXPECT_THAT(CheckShard(path_, "data-0.tar", 11),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("11 samples need 96")));
  std::filesystem::resize_file(path_, 2048);
  EXPECT_THAT(TarShard::Open(path_, "data-0.tar"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("cut short")));
  EXPECT_THAT(CheckShard(path_, "data-0.tar", 10),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("cut short")));
  std::filesystem::remove(path_);
  EXPECT_THAT(TarShard::Open(path_, "data-0.tar"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("data-0.tar"), HasSubstr("prepare the data set again"))));
  std::filesystem::remove(TarIndexPath(path_));
  EXPECT_THAT(CheckShard(path_, "data-0.tar", 10), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ShardTest, ATarThatIsNotTheOneOfItsIndexIsCalledThat) {
  Write(10);
  TarWriter writer = TarWriter::Create(path_).value();
  for (int i = 0; i < 60; ++i) {
    ASSERT_THAT(writer.Add(absl::StrCat("other", i, ".png"), "small"), IsOk());
  }
  ASSERT_THAT(writer.Close(), IsOk());
  const auto stale =
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr("data-0.tar.idx"), HasSubstr("the index was made for another tar"),
                     HasSubstr("prepare the data set again")));
  EXPECT_THAT(TarShard::Open(path_, "data-0.tar"), stale);
  EXPECT_THAT(CheckShard(path_, "data-0.tar", 10), stale);
}

TEST_F(ShardTest, AnotherTarOfTheSameLengthIsNoticedWhenASampleIsRead) {
  path_ = FreshFolder("same_length") / "data-0.tar";
  const std::string end = EndMarker();
  ASSERT_THAT(
      WriteFileAtomically(path_, Entry("a.png", std::string(700, 'a')) + Entry("a.txt", "a") +
                                     Entry("b.png", "b") + Entry("b.txt", "b") + end),
      IsOk());
  const std::vector<uint64_t> index = {0, 1024, 4608};
  ASSERT_THAT(WriteTarIndex(path_, index), IsOk());
  const auto shard = TarShard::Open(path_, "data-0.tar").value();
  RawSample sample;
  EXPECT_THAT(shard->Read(0, sample),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("\"a.png\""), HasSubstr("the index entry ends after 512"),
                             HasSubstr("sample 0 lies at bytes [0, 1024) by the index"),
                             HasSubstr("prepare the data set again"))));
}

TEST_F(ShardTest, AnEndMarkerInsideAnIndexEntryIsNoSample) {
  path_ = FreshFolder("early_end") / "data-0.tar";
  ASSERT_THAT(WriteFileAtomically(path_, Entry("a.txt", "a") + std::string(1024, '\0') +
                                             Entry("b.txt", "b") + EndMarker()),
              IsOk());
  const std::vector<uint64_t> index = {0, 3072};
  ASSERT_THAT(WriteTarIndex(path_, index), IsOk());
  RawSample sample;
  EXPECT_THAT(TarShard::Open(path_, "data-0.tar").value()->Read(0, sample),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the archive ends at byte 1024")));
}

TEST_F(ShardTest, CompressedTarsAreCalledByTheirCompressionAndUnpackAsTold) {
  Write(10);
  const std::filesystem::path folder = path_.parent_path();
  const auto run = [&](std::string_view command) {
    return std::system(absl::StrCat("cd ", folder.native(), " && ", command).c_str());
  };
  for (const auto& [tool, name] :
       {std::pair("gzip", "gzip"), std::pair("bzip2", "bzip2"), std::pair("xz", "xz")}) {
    if (run(absl::StrCat("command -v ", tool, " > /dev/null")) != 0) continue;
    ASSERT_EQ(run(absl::StrCat(tool, " -c data-0.tar > c && mv c data-0.tar")), 0);
    const absl::Status status = CheckShard(path_, "data-0.tar", 10);
    ASSERT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                                 HasSubstr(absl::StrCat("compressed with ", name))));
    EXPECT_EQ(ScanShard(*OpenFile(path_).value(), "data-0.tar").status().message(),
              status.message());
    const std::string message(status.message());
    EXPECT_EQ(run(message.substr(message.find("unpack it: ") + 11)), 0) << message;
    EXPECT_THAT(CheckShard(path_, "data-0.tar", 10), IsOk());
  }
}

TEST_F(ShardTest, JoinedArchivesAreRefusedAndMadeOneAsTold) {
  Write(4);
  const std::filesystem::path folder = path_.parent_path();
  const std::string first = ReadFile(path_).value();
  std::string second;
  {
    TarWriter writer = TarWriter::Create(folder / "second.tar").value();
    ASSERT_THAT(writer.Add("z.png", "zz"), IsOk());
    ASSERT_THAT(writer.Close(), IsOk());
    second = ReadFile(folder / "second.tar").value();
  }
  ASSERT_THAT(WriteFileAtomically(path_, first + second), IsOk());
  const absl::Status status = CheckShard(path_, "data-0.tar", 4);
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("data-0.tar is two archives joined"), HasSubstr("\"z.png\""),
                             HasSubstr(absl::StrCat("byte ", first.size())))));
  EXPECT_EQ(ScanError(first + second).code(), absl::StatusCode::kDataLoss);
  const std::string message(status.message());
  EXPECT_EQ(std::system(absl::StrCat("cd ", folder.native(), " && ",
                                     message.substr(message.find("of it: ") + 7))
                            .c_str()),
            0)
      << message;
  const ShardContents contents = ScanShard(*OpenFile(path_).value(), "data-0.tar").value();
  ASSERT_EQ(contents.samples.size(), 5);
  EXPECT_EQ(contents.samples.back().key, "z");
}

TEST(ScanTest, OtherBytesBehindTheEndAreNamed) {
  const std::string tar = Entry("a.txt", "a") + EndMarker();
  EXPECT_THAT(ScanShard(MemoryFile(tar + std::string(40000, '\0')), "s.tar"), IsOk());
  EXPECT_THAT(ScanError(tar + std::string(1024, '\0') + "garbage"),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("ends at byte 1024"), HasSubstr("follow at byte 3072"))));
}

TEST(TarIndexTest, RefusesWhatIsNoIndex) {
  EXPECT_THAT(ParseTarIndex(""), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ParseTarIndex("123456789"), StatusIs(absl::StatusCode::kDataLoss));
  const std::vector<uint64_t> decreasing = {0, 1024, 512};
  EXPECT_THAT(ParseTarIndex(FormatTarIndex(decreasing)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("entry 2")));
  const std::vector<uint64_t> odd = {0, 1000};
  EXPECT_THAT(ParseTarIndex(FormatTarIndex(odd)), StatusIs(absl::StatusCode::kDataLoss));
}

// Random bit flips, cuts and repeats never read outside the bytes, and what is accepted is sane.
TEST(TarFuzzTest, MutatedArchivesNeverBreakTheScanner) {
  std::mt19937_64 random = FreshGenerator();
  const std::string seed_archive =
      Entry("g", FormatPaxRecord("comment", "x"), 'g') +
      Entry("././@LongLink", std::string(130, 'l') + ".txt", 'L') + Entry("l", "12") +
      Entry("p", FormatPaxRecord("path", "p/q.json") + FormatPaxRecord("size", "5"), 'x') +
      Entry("q", "12345") + Entry("dir/", "", '5') + Entry("a.txt", std::string(700, 'a')) +
      EndMarker();
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = seed_archive;
    const int num_edits = 1 + static_cast<int>(random() % 4);
    for (int edit = 0; edit < num_edits && !bytes.empty(); ++edit) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
        case 1:
          bytes.resize(at);
          break;
        case 2:
          bytes.insert(at, bytes.substr(0, random() % 600));
          break;
        default:
          // A valid checksum over a damaged header reaches the deeper checks.
          if (const size_t block = at / kTarBlockBytes * kTarBlockBytes;
              block + kTarBlockBytes <= bytes.size()) {
            std::string header = bytes.substr(block, kTarBlockBytes);
            header[random() % 160] = static_cast<char>(random());
            PutChecksum(header);
            bytes.replace(block, kTarBlockBytes, header);
          }
      }
    }
    const absl::StatusOr<ShardContents> contents = ScanShard(MemoryFile(bytes), "f.tar");
    if (!contents.ok()) continue;
    EXPECT_LE(contents->end_offset, bytes.size());
    for (const SampleEntry& sample : contents->samples) {
      for (const PartEntry& part : sample.parts) {
        EXPECT_LE(part.payload_offset + part.payload_size, bytes.size());
      }
    }
  }
}

}  // namespace
}  // namespace hetero::data
