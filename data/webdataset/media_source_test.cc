// Files of a data set that Megatron-Energon prepared, of one of ours, and of a folder, by name.

#include "hetero/data/webdataset/media_source.h"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/tar/writer.h"
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

const fs::path kTestdata = "data/webdataset/testdata";

TEST(MediaSourceTest, FindsWhatMegatronEnergonFinds) {
  const auto source = OpenMediaSource({.path = kTestdata / "media"}, {}).value();
  const std::string asked = ReadFile(kTestdata / "media.txt").value();
  const std::vector<std::string> lines = absl::StrSplit(asked, '\n', absl::SkipEmpty());
  EXPECT_GT(lines.size(), 10);
  std::string bytes;
  for (const std::string_view line : lines) {
    const std::pair<std::string, std::string> expected = absl::StrSplit(line, '\t');
    const absl::StatusOr<bool> found = source->Read(expected.first, bytes);
    ASSERT_THAT(found, IsOk());
    EXPECT_EQ(*found ? bytes : "none", expected.second) << expected.first;
  }
}

class ShardsSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = FreshFolder("shards");
    Write("a.tar", "a");
    Write("b.tar", "b");
    ASSERT_THAT(PrepareDataset(root_, {.splits = {{"train", {"a.tar", "b.tar"}}},
                                       .fields = TextFields{.text = "txt"}}),
                IsOk());
  }

  // Samples KEY0 to KEY9 of two texts.
  void Write(std::string_view shard, std::string_view key) const {
    TarWriter writer = TarWriter::Create(root_ / shard).value();
    for (int i = 0; i < 10; ++i) {
      ASSERT_THAT(writer.Add(absl::StrCat(key, i, ".txt"), absl::StrCat(key, i)), IsOk());
      ASSERT_THAT(writer.Add(absl::StrCat(key, i, ".more.txt"), "more"), IsOk());
    }
    ASSERT_THAT(writer.Close(), IsOk());
  }

  fs::path root_;
};

TEST_F(ShardsSourceTest, ThreadsReadAtOnce) {
  const auto source = OpenMediaSource({.path = root_}, {}).value();
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 4; ++reader) {
    readers.emplace_back([&source] {
      std::string bytes;
      for (int i = 0; i < 200; ++i) {
        const std::string key = absl::StrCat(i % 2 == 0 ? "a" : "b", i % 10);
        EXPECT_THAT(source->Read(absl::StrCat(key, ".txt"), bytes), IsOkAndHolds(true));
        EXPECT_EQ(bytes, key);
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
}

TEST_F(ShardsSourceTest, DamageIsNamedWithItsSource) {
  const auto source = OpenMediaSource({.path = root_}, {}).value();
  std::string bytes;
  ASSERT_THAT(source->Read("a0.txt", bytes), IsOkAndHolds(true));
  Write("b.tar", "c");  // keys of the same length, so the index fits
  EXPECT_THAT(
      source->Read("b3.txt", bytes),
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr(absl::StrCat("media source ", root_.native(), ": shard b.tar")),
                     HasSubstr("it is looked up for sample \"b3\""))));
  fs::remove(root_ / "b.tar");
  const auto vanished = StatusIs(absl::StatusCode::kNotFound, HasSubstr("shard b.tar is missing"));
  EXPECT_THAT(OpenMediaSource({.path = root_}, {}), vanished);
  EXPECT_THAT(OpenMediaSource({.path = root_ / "c"}, {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("media source ")));
}

TEST(MediaSourceTest, AFoldersFilesAreThoseBelowIt) {
  const fs::path root = FreshFolder("files");
  fs::create_directories(root / "media/photos");
  ASSERT_THAT(WriteFileAtomically(root / "media/photos/17.jpg", "pixels"), IsOk());
  ASSERT_THAT(WriteFileAtomically(root / "secret", "of others"), IsOk());
  const auto source = OpenMediaSource({.path = root / "media", .is_folder = true}, {}).value();
  std::string bytes;
  EXPECT_THAT(source->Read("photos/17.jpg", bytes), IsOkAndHolds(true));
  EXPECT_EQ(bytes, "pixels");
  EXPECT_THAT(source->Read("./photos/../photos/17.jpg", bytes), IsOkAndHolds(true));
  EXPECT_THAT(source->Read("photos/18.jpg", bytes), IsOkAndHolds(false));
  using std::string_view_literals::operator""sv;
  for (const std::string_view name :
       {"../secret"sv, "photos/../../secret"sv, "/etc/passwd"sv, ""sv, "photos/17.jpg\0.png"sv}) {
    EXPECT_THAT(
        source->Read(name, bytes),
        StatusIs(
            absl::StatusCode::kDataLoss,
            AllOf(HasSubstr(absl::StrCat("media source filesystem://", (root / "media").native())),
                  HasSubstr("is of no file in the folder"))));
  }
  EXPECT_THAT(source->Read("photos", bytes), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(OpenMediaSource({.path = root / "secret", .is_folder = true}, {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("there is no folder")));
}

TEST(MediaReferenceTest, ObjectStoresAreRefusedByName) {
  EXPECT_THAT(ParseMediaReference("../m"), IsOkAndHolds(MediaReference{.path = "../m"}));
  EXPECT_THAT(ParseMediaReference("filesystem:///m"),
              IsOkAndHolds(MediaReference{.path = "/m", .is_folder = true}));
  for (const char* const text :
       {"", "filesystem://", "msc://b/m", "filesystem+msc://b/m", "filesystem://msc://b"}) {
    EXPECT_THAT(ParseMediaReference(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("\"", text, "\" is no place of files"))));
  }
  EXPECT_EQ((MediaReference{.path = "/m", .is_folder = true}).ToString(), "filesystem:///m");
}

}  // namespace
}  // namespace hetero::data
