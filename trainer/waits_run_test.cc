// Runs with an encoder that is slower than its model, and what their profile says of the layout.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/testing/hooked_run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ContainsRegex;

// Work, by the clock of the thread: a machine that is busy with other things takes longer for it.
void Work(absl::Duration time) {
  const absl::Duration end = ThreadTime() + time;
  while (ThreadTime() < end) continue;
}

RecipeRun RunSlowed(const std::string& module, absl::Duration before_forward) {
  const StageHooks hooks = {.before_forward = [=](int, StageInput&) {
    Work(before_forward);
    return absl::OkStatus();
  }};
  return RunHooked(module, hooks, {"train_steps=4"}, {.profile = true});
}

// Milliseconds of a step in which the ranks of `module` are busy; fails the test and is 0 without.
double BusyMs(const RecipeRun& run, const std::string& module) {
  const std::vector<std::string> parts =
      absl::StrSplit(run.output, absl::MaxSplits(absl::StrCat("\n", module, ", 1 rank "), 1));
  double busy = 0;
  EXPECT_EQ(parts.size(), 2) << "no row of " << module << " in\n" << run.output;
  if (parts.size() < 2) return busy;
  const std::vector<std::string_view> columns =
      absl::StrSplit(parts[1], ' ', absl::SkipWhitespace());
  EXPECT_TRUE(!columns.empty() && absl::SimpleAtod(columns[0], &busy)) << parts[1];
  return busy;
}

// What is not slowed is as fast as the build is: a sanitizer makes of 40 ms a second.
TEST(WaitsRunTest, AnEncoderThatIsWaitedForIsNamed) {
  const RecipeRun as_it_is = RunSlowed("radio_encoder", absl::ZeroDuration());
  ASSERT_THAT(as_it_is.status, IsOk());
  // Of each of four microbatches; with it the encoder takes twice as long as the model.
  const double added = std::max(30.0, 2 * BusyMs(as_it_is, "language") / 4);

  const RecipeRun run = RunSlowed("radio_encoder", absl::Milliseconds(added));

  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output,
              ContainsRegex("verdict: the radio_encoder grid is [1-9][0-9]+ % too small"));
  EXPECT_GE(BusyMs(run, "radio_encoder"), 4 * added);
  EXPECT_THAT(run.output, ContainsRegex("language, 1 rank +[0-9.]+ +0\\.[0-9]"));
}

TEST(WaitsRunTest, AModelThatIsWaitedForIsNamed) {
  const RecipeRun as_it_is = RunSlowed("language", absl::ZeroDuration());
  ASSERT_THAT(as_it_is.status, IsOk());
  const double added = std::max(30.0, 2 * BusyMs(as_it_is, "radio_encoder") / 4);

  const RecipeRun run = RunSlowed("language", absl::Milliseconds(added));

  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, ContainsRegex("verdict: the language grid is [1-9][0-9]+ % too small"));
}

}  // namespace
}  // namespace hetero
