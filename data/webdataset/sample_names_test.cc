// Names of samples to their numbers and back, by the index alone.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
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

// Shards a/b.tar, 0.tar and 1.tar of three texts each; "val" is the last. a/b.tar/d/k1 is excluded.
class SampleNamesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = FreshFolder("names");
    fs::create_directories(root_ / "a");
    int number = 0;
    for (const char* const shard : {"a/b.tar", "0.tar", "1.tar"}) {
      TarWriter writer = TarWriter::Create(root_ / shard).value();
      for (int i = 0; i < 3; ++i) {
        ASSERT_THAT(writer.Add(absl::StrFormat("d/k%d.txt", number++), "text"), IsOk());
      }
      ASSERT_THAT(writer.Close(), IsOk());
    }
    ASSERT_THAT(
        PrepareDataset(root_, {.splits = {{"train", {"a/b.tar", "0.tar"}}, {"val", {"1.tar"}}},
                               .fields = TextFields{.text = "txt"},
                               .exclude = {"a/b.tar/d/k1"}}),
        IsOk());
    dataset_ = Dataset::Open(root_, "train").value();
  }

  absl::StatusOr<std::vector<int64_t>> Find(const std::vector<std::string>& names) const {
    return dataset_->Find("the list has", names);
  }

  fs::path root_;
  std::shared_ptr<const Dataset> dataset_;
};

TEST_F(SampleNamesTest, EverySampleIsFoundByItsName) {
  ASSERT_EQ(dataset_->size(), 5);
  for (int64_t i = 0; i < dataset_->size(); ++i) {
    RawSample sample;
    ASSERT_THAT(dataset_->Read(i, sample), IsOk());
    EXPECT_THAT(dataset_->NameOf(i), IsOkAndHolds(sample.Name()));
    EXPECT_THAT(Find({sample.Name()}), IsOkAndHolds(ElementsAre(i)));
  }
}

// Of the sample nothing is readable but what the index says.
TEST_F(SampleNamesTest, ADamagedSampleHasItsName) {
  std::string bytes = ReadFile(root_ / "0.tar").value();
  bytes.replace(1024, 512, std::string(512, 'x'));
  ASSERT_THAT(WriteFileAtomically(root_ / "0.tar", bytes), IsOk());
  const std::shared_ptr<const Dataset> damaged = Dataset::Open(root_, "train").value();
  RawSample sample;
  EXPECT_THAT(damaged->Read(3, sample), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(damaged->NameOf(3), IsOkAndHolds("0.tar/d/k4"));
}

TEST_F(SampleNamesTest, AShardIsAllOfItsSamplesAndOtherSplitsAndExclusionsAreNone) {
  EXPECT_THAT(Find({"0.tar", "0.tar/d/k3"}), IsOkAndHolds(ElementsAre(2, 3, 4)));
  EXPECT_THAT(Find({"a/b.tar"}), IsOkAndHolds(ElementsAre(0, 1)));
  EXPECT_THAT(Find({"a/b.tar/d/k1", "1.tar", "1.tar/d/k7"}), IsOkAndHolds(IsEmpty()));
}

TEST_F(SampleNamesTest, WhatIsNotThereIsNamedWithItsList) {
  for (const std::string_view name : {"2.tar", "2.tar/d/k0", "0.tar/d/k9", "0.tar/d/k0"}) {
    EXPECT_THAT(Find({std::string(name)}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("the list has \"", name, "\""))));
  }
}

}  // namespace
}  // namespace hetero::data
