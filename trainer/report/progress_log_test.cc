#include "hetero/trainer/report/progress_log.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromCivil(absl::CivilSecond(2026, 11, 30), absl::LocalTimeZone());

absl::Time At(int seconds) { return kStart + absl::Seconds(seconds); }

std::vector<std::string> Lines(const fs::path& folder) {
  std::stringstream text;
  text << std::ifstream(folder / "progress.txt").rdbuf();
  return absl::StrSplit(text.str(), '\n', absl::SkipEmpty());
}

fs::path Folder(const char* name) { return fs::path(::testing::TempDir()) / name; }

ProgressLog Log(const fs::path& folder, int64_t num_ranks = 4) {
  return ProgressLog({.folder = folder,
                      .job = "job",
                      .num_ranks = num_ranks,
                      .counted_ranks = 2,
                      .sequence_length = 1000});
}

// Steps of 1e13 operations and a second, from `first` on.
void Train(ProgressLog& log, int first, int steps, int begins_at) {
  for (int i = 1; i <= steps; ++i) log.Step(first + i, 1e13, At(begins_at + i));
}

TEST(ProgressLogTest, ASaveIsALineOfItsOwnTimeAndOperations) {
  const fs::path folder = Folder("plain");
  ProgressLog log = Log(folder);
  log.Begin(0, "", At(0));
  Train(log, 0, 5, 10);
  // Published while the run went on.
  log.Saved(4, 4000);
  EXPECT_TRUE(log.status().ok());
  // 4e13 operations in 14 seconds on 2 ranks.
  EXPECT_THAT(
      Lines(folder),
      ElementsAre("2026-11-30 00:00:00\tJob ID: job\t# GPUs: 4\tStarting job",
                  "2026-11-30 00:00:14\tJob ID: job\t# GPUs: 4\tSaved checkpoint\tIteration: 4\t"
                  "Job throughput: 1.4 TFLOP/s/GPU\tCumulative throughput: 1.4 TFLOP/s/GPU\t"
                  "Floating-point operations: 4.000000e+13\tTokens (in billions): 0.004000"));
}

TEST(ProgressLogTest, ALaterJobCountsOnAndAnotherWorldBeginsAnew) {
  const fs::path folder = Folder("jobs");
  ProgressLog first = Log(folder);
  first.Begin(0, "", At(0));
  Train(first, 0, 4, 0);
  first.Saved(2, 2000);
  first.Saved(4, 4000);
  // Goes on from the checkpoint before the last, after a pause.
  ProgressLog second = Log(folder);
  second.Begin(2, folder, At(100));
  Train(second, 2, 2, 100);
  second.Saved(4, 4000);
  // 2e13 in 2 seconds, and 4e13 since the first job began.
  EXPECT_THAT(Lines(folder).back(),
              MatchesRegex(".*Job throughput: 5.0 TFLOP/s/GPU\tCumulative throughput: 0.2 "
                           "TFLOP/s/GPU\tFloating-point operations: 4.0000.*"));
  // In a folder of its own, with more ranks.
  const fs::path other = Folder("other");
  ProgressLog third = Log(other, /*num_ranks=*/8);
  third.Begin(4, folder, At(200));
  Train(third, 4, 4, 200);
  third.Saved(8, 8000);
  EXPECT_THAT(Lines(other), SizeIs(Lines(folder).size() + 2));
  EXPECT_THAT(Lines(other).back(),
              MatchesRegex(".*Job throughput: 5.0 TFLOP/s/GPU\tCumulative throughput: 5.0 "
                           "TFLOP/s/GPU\tFloating-point operations: 8.0000.*"));
}

TEST(ProgressLogTest, WhatBeginsAnewInAFolderThatWasUsedCountsFromThere) {
  const fs::path folder = Folder("anew");
  ProgressLog first = Log(folder);
  first.Begin(0, "", At(0));
  Train(first, 0, 4, 0);
  first.Saved(4, 4000);
  ProgressLog second = Log(folder);
  second.Begin(0, "", At(100));
  Train(second, 0, 4, 100);
  second.Saved(4, 4000);
  EXPECT_THAT(Lines(folder).back(),
              MatchesRegex(".*Cumulative throughput: 5.0 TFLOP/s/GPU\tFloating-point operations: "
                           "4.0000.*"));
}

TEST(ProgressLogTest, WhatIsNoLineIsPassedOver) {
  const EarlierProgress progress =
      ReadProgress("x\n\t\t\t\nno\tJob ID: a\t# GPUs: 4\tStarting job\n", 4, 9);
  EXPECT_EQ(progress.flops, 0);
  EXPECT_EQ(progress.start, absl::InfiniteFuture());
}

TEST(ProgressLogTest, AFolderThatCannotBeWrittenIsTold) {
  const fs::path file = Folder("file");
  std::ofstream(file) << "x";
  ProgressLog log = Log(file / "below");
  log.Begin(0, "", At(0));
  EXPECT_THAT(log.status().message(), HasSubstr("file/below/progress.txt"));
}

// The log of jobs before counts: without it the numbers would be others.
TEST(ProgressLogTest, ALogOfEarlierJobsThatCannotBeReadIsTold) {
  const fs::path folder = Folder("unreadable"), source = Folder("unreadable_source");
  fs::create_directories(source / kProgressFile);
  ProgressLog log = Log(folder);
  log.Begin(5, source, At(0));
  EXPECT_THAT(log.status().message(), HasSubstr("unreadable_source/progress.txt"));
}

}  // namespace
}  // namespace hetero
