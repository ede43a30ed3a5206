// Databases as others may have made them; index_corpus.py wrote them.

#include "hetero/data/webdataset/sample_index.h"

#include <filesystem>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/test_folder.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kCorpus = "data/webdataset/index_corpus";

TEST(SampleIndexTest, ReadingLeavesNothingBesideTheFileWhateverItIsCalled) {
  const fs::path folder = FreshFolder("100% odd?name=#1");
  const fs::path file = folder / "index.sqlite";
  fs::copy_file(kCorpus / "write_ahead.sqlite", file);
  const auto index = SampleIndex::Open(file).value();
  const auto found = index->Find("d/c").value();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->shard_id, 1);
  EXPECT_THAT(index->KeyAt(*found), IsOkAndHolds("d/c"));
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  EXPECT_THAT(files, ElementsAre(file));
}

// SQLite says of it that memory is short.
TEST(SampleIndexTest, ARowThatClaimsMoreThanAFileCanHoldIsDamage) {
  const auto index = SampleIndex::Open(kCorpus / "claims_4_gib.sqlite").value();
  EXPECT_THAT(index->KeyAt({.shard_id = 0, .sample_index = 0}),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("claims_4_gib.sqlite: "), HasSubstr("damaged"))));
}

TEST(SampleIndexTest, AKeyThatIsLongerThanSqliteTakesIsDamage) {
  const auto index = SampleIndex::Open(kCorpus / "claims_a_long_key.sqlite").value();
  EXPECT_THAT(index->KeyAt({.shard_id = 0, .sample_index = 0}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("claims_a_long_key.sqlite: ")));
}

// Its view counts without end.
TEST(SampleIndexTest, NothingThatADatabaseDefinesIsRun) {
  const auto index = SampleIndex::Open(kCorpus / "endless_view.sqlite");
  EXPECT_THAT(index, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("endless_view.sqlite: ")));
}

}  // namespace
}  // namespace hetero::data
