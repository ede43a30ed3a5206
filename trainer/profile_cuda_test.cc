// What a run on a GPU says about time: of its operations with --profile, and of its steps.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int kSteps = 70;  // two of them sampled

// Large enough that the GPU, not the host that queues, decides how long a step takes.
const RecipeRun& ProfiledRun() {
  static const RecipeRun run = RunConfigured(
      RecipeConfig(
          "mock_tiny",
          {"launch=threads:1", "language.num_ranks=1", "device=CUDA", "precision=BF16",
           "train_steps=70", "model.hidden_size=2048", "model.experts.ffn_size=1024",
           "model.experts.shared_ffn_size=2048", "sequence_length=512", "micro_batch_size=16",
           "global_batch_size=16", "logging.console_interval_steps=1"}),
      {.profile = true});
  return run;
}

struct Row {
  std::string name;
  std::vector<double> numbers;  // ms/step, share, calls, GFLOP/s, GB/s
};

// The lines of the profile below its heading.
std::vector<Row> ProfileRows(std::string_view output) {
  std::vector<Row> rows;
  bool inside = false;
  for (std::string_view line : absl::StrSplit(output, '\n')) {
    if (absl::StartsWith(line, "operation, all ranks")) {
      inside = true;
      continue;
    }
    if (!inside) continue;
    Row row;
    for (std::string_view word : absl::StrSplit(line, absl::ByAnyChar(" %"), absl::SkipEmpty())) {
      double number;
      if (absl::SimpleAtod(word, &number)) {
        row.numbers.push_back(number);
      } else {
        if (!row.name.empty()) row.name += ' ';
        row.name += word;
      }
    }
    rows.push_back(row);
    if (row.name == "all ranks") break;
  }
  return rows;
}

TEST(ProfileCudaTest, OperationsAddUpToTheStep) {
  const RecipeRun& run = ProfiledRun();
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("device time of 2 sampled steps"));
  EXPECT_THAT(run.output, Not(HasSubstr("not timed")));
  const std::vector<Row> rows = ProfileRows(run.output);
  ASSERT_THAT(rows, SizeIs(Gt(10u))) << run.output;
  ASSERT_EQ(rows.back().name, "all ranks");
  const double step = rows.back().numbers.at(0);
  double sum = 0;
  for (size_t i = 0; i + 2 < rows.size(); ++i) {
    ASSERT_THAT(rows[i].numbers, SizeIs(5)) << rows[i].name;
    EXPECT_GT(rows[i].numbers[0], 0) << rows[i].name;
    // An H200 does a million GFLOP/s and moves 5,000 GB/s at most, its caches several times that.
    EXPECT_LE(rows[i].numbers[3], 2e6) << rows[i].name;
    EXPECT_LE(rows[i].numbers[4], 5e4) << rows[i].name;
    sum += rows[i].numbers[0];
  }
  const double rounding = 0.0005 * static_cast<double>(rows.size());
  EXPECT_THAT(sum, AllOf(Ge(0.5 * step), Le(step + rounding))) << run.output;
}

TEST(ProfileCudaTest, ElapsedTimesAddUpToTheTraining) {
  const RecipeRun& run = ProfiledRun();
  ASSERT_THAT(run.status, IsOk());
  constexpr std::string_view kLabel = "elapsed time per iteration (ms): ";
  std::vector<double> elapsed;
  for (std::string_view line : absl::StrSplit(run.output, '\n')) {
    const size_t begin = line.find(kLabel);
    if (begin == std::string_view::npos) continue;
    const std::string_view number =
        std::vector<std::string_view>(absl::StrSplit(line.substr(begin + kLabel.size()), ' '))[0];
    ASSERT_TRUE(absl::SimpleAtod(number, &elapsed.emplace_back())) << line;
  }
  ASSERT_THAT(elapsed, SizeIs(kSteps)) << run.output;
  double sum = 0;
  for (const double step : elapsed) {
    EXPECT_GT(step, 0);
    sum += step;
  }
  // All steps lie inside the training; outside them the host begins it and reports the last step.
  // Lines have one decimal.
  const double training = 1e3 * ResultValue(run.output, "train_seconds");
  EXPECT_LE(sum, training + 0.05 * kSteps + 1);
  EXPECT_GE(sum, 0.8 * training);
}

}  // namespace
}  // namespace hetero
