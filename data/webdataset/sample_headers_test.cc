#include "hetero/data/webdataset/sample_headers.h"

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const HeadersOrigin& Origin() {
  static const HeadersOrigin& origin =
      *new HeadersOrigin{.index_id = "7", .fields = {}, .shards = {{"a.tar", 2}, {"b.tar", 1}}};
  return origin;
}

std::vector<SampleHeader> SomeHeaders() {
  return {{.image = {.height = 3, .width = 500}, .caption_bytes = 7},
          {},
          {.image = {.height = 70000, .width = 1}, .caption_bytes = int64_t{1} << 40}};
}

TEST(HeadersTest, ComeBackAsTheyWere) {
  EXPECT_THAT(ParseHeaders(FormatHeaders(Origin(), SomeHeaders()), Origin()),
              IsOkAndHolds(SomeHeaders()));
  EXPECT_THAT(ParseHeaders(FormatHeaders(Origin(), {}), Origin()), IsOkAndHolds(IsEmpty()));
}

TEST(HeadersTest, AnotherOriginIsTold) {
  const std::string bytes = FormatHeaders(Origin(), SomeHeaders());
  HeadersOrigin prepared_again = Origin();
  prepared_again.index_id = "8";
  HeadersOrigin other_field = Origin();
  other_field.fields.image = "jpg";
  HeadersOrigin other_shards = Origin();
  std::swap(other_shards.shards[0], other_shards.shards[1]);
  for (const HeadersOrigin& other : {prepared_again, other_field, other_shards}) {
    EXPECT_THAT(ParseHeaders(bytes, other), StatusIs(absl::StatusCode::kFailedPrecondition));
  }
}

TEST(HeadersTest, NoDamagedByteAndNoCutPassesUnseen) {
  const std::string bytes = FormatHeaders(Origin(), SomeHeaders());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_FALSE(ParseHeaders(damaged, Origin()).ok()) << i;
    EXPECT_FALSE(ParseHeaders(bytes.substr(0, i), Origin()).ok()) << i;
  }
}

TEST(HeadersTest, EverySplitHasAFileInTheFolderWhateverItsName) {
  for (const std::string_view split : {"train", "../up", "a/b", "", "mit Umlaut \xc3\xbc"}) {
    const fs::path path = HeadersFile("/x/.nv-meta", split);
    EXPECT_EQ(path.parent_path(), "/x/.nv-meta") << split;
    EXPECT_TRUE(IsHeadersFile(path.filename()));
  }
  EXPECT_NE(HeadersFile("", "a/b"), HeadersFile("", "a%2fb"));
}

// Two shards of a split, of different images and captions.
class DatasetHeadersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
    int number = 0;
    for (const std::string_view shard : {"a.tar", "b.tar"}) {
      TarWriter writer = TarWriter::Create(root_ / shard).value();
      for (int i = 0; i < 3; ++i, ++number) {
        Image image;
        image.Reshape({.height = 4 + number, .width = 9}, 1);
        const std::string key = absl::StrCat("k", number);
        ASSERT_THAT(writer.Add(key + ".png", EncodePng(image, 0).value()), IsOk());
        ASSERT_THAT(writer.Add(key + ".txt", std::string(number, 'x')), IsOk());
      }
      ASSERT_THAT(writer.Close(), IsOk());
    }
    Prepare();
  }

  void Prepare() {
    ASSERT_THAT(PrepareDataset(root_, {.splits = {{"train", {"{a,b}.tar"}}}, .fields = {}}),
                IsOk());
  }

  fs::path File() const { return HeadersFile(root_ / kMetadataFolder, "train"); }

  // Opens the split and checks its headers; returns what the user is told.
  std::vector<std::string> Open(int64_t unknown = -1) const {
    std::vector<std::string> said;
    const auto dataset = Dataset::Open(
        root_, "train", {.message = [&](std::string_view line) { said.emplace_back(line); }},
        {.with_headers = true});
    EXPECT_THAT(dataset, IsOk());
    for (int64_t i = 0; dataset.ok() && i < (*dataset)->size(); ++i) {
      if (i == unknown) {
        EXPECT_FALSE((*dataset)->Header(i).known());
        continue;
      }
      const int number = static_cast<int>((*dataset)->Position(i));
      EXPECT_EQ((*dataset)->Header(i), (SampleHeader{.image = {.height = 4 + number, .width = 9},
                                                     .caption_bytes = number}));
    }
    return said;
  }

  fs::path root_;
};

TEST_F(DatasetHeadersTest, PreparationLeavesThem) {
  EXPECT_TRUE(fs::exists(File()));
  EXPECT_THAT(Open(), IsEmpty());
}

TEST_F(DatasetHeadersTest, OfADataSetThatOthersPreparedTheyAreMadeOnce) {
  ASSERT_TRUE(fs::remove(File()));
  EXPECT_THAT(Open(), ElementsAre("reading the headers of 6 samples, once"));
  EXPECT_TRUE(fs::exists(File()));
  EXPECT_THAT(Open(), IsEmpty());
}

TEST_F(DatasetHeadersTest, StaleAndDamagedOnesAreMadeAnew) {
  const std::string old = ReadFile(File()).value();
  Prepare();
  ASSERT_THAT(WriteFileAtomically(File(), old), IsOk());
  EXPECT_THAT(Open(), ElementsAre(HasSubstr("another preparation"), HasSubstr("of 6 samples")));
  std::string damaged = ReadFile(File()).value();
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_THAT(WriteFileAtomically(File(), damaged), IsOk());
  EXPECT_THAT(Open(), ElementsAre(HasSubstr("its sum does not fit"), HasSubstr("of 6 samples")));
  EXPECT_THAT(Open(), IsEmpty());
}

TEST_F(DatasetHeadersTest, AFolderThatCannotBeWrittenWillDo) {
  ASSERT_TRUE(fs::remove(File()));
  fs::create_directories(File() / "in the way");
  for (int run = 0; run < 2; ++run) {
    EXPECT_THAT(Open(),
                ElementsAre(HasSubstr("of 6 samples"), HasSubstr("every run will read them: ")));
  }
}

TEST_F(DatasetHeadersTest, WhatASampleDoesNotTellIsUnknown) {
  std::string tar = ReadFile(root_ / "a.tar").value();
  const size_t second = tar.find("k1.png");
  ASSERT_NE(second, std::string::npos);
  tar[second + 512] = '!';  // of the image's signature
  ASSERT_THAT(WriteFileAtomically(root_ / "a.tar", tar), IsOk());
  ASSERT_TRUE(fs::remove(File()));
  EXPECT_THAT(Open(/*unknown=*/1), ElementsAre(HasSubstr("of 6 samples")));
}

TEST_F(DatasetHeadersTest, ASplitThatIsGoneLeavesNone) {
  const fs::path other = HeadersFile(root_ / kMetadataFolder, "other");
  ASSERT_THAT(WriteFileAtomically(other, "old"), IsOk());
  Prepare();
  EXPECT_FALSE(fs::exists(other));
  EXPECT_TRUE(fs::exists(File()));
}

TEST_F(DatasetHeadersTest, NobodyWhoDoesNotAskWaitsForThem) {
  ASSERT_TRUE(fs::remove(File()));
  const auto dataset = Dataset::Open(root_, "train").value();
  EXPECT_FALSE(dataset->Header(0).known());
  EXPECT_FALSE(fs::exists(File()));
}

}  // namespace
}  // namespace hetero::data
