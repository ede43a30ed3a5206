// Runs with an encoder that is slower than its model, and what their profile says of the layout.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
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

RecipeRun RunSlowed(const std::string& module) {
  const StageHooks hooks = {.before_forward = [](int, StageInput&) {
    Work(absl::Milliseconds(30));
    return absl::OkStatus();
  }};
  return RunHooked(module, hooks, {"train_steps=4"}, {.profile = true});
}

TEST(WaitsRunTest, AnEncoderThatIsWaitedForIsNamed) {
  const RecipeRun run = RunSlowed("radio_encoder");
  ASSERT_THAT(run.status, IsOk());
  // 120 ms of a step, next to which the model's own work is small.
  EXPECT_THAT(run.output, ContainsRegex("verdict: the radio_encoder grid is [1-9][0-9]+ % too "
                                        "small: its ranks are busy 1[2-9][0-9]\\.[0-9] ms"));
  EXPECT_THAT(run.output, ContainsRegex("language, 1 rank +[0-9.]+ +0\\.[0-9]"));
}

TEST(WaitsRunTest, AModelThatIsWaitedForIsNamed) {
  const RecipeRun run = RunSlowed("language");
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, ContainsRegex("verdict: the language grid is [1-9][0-9]+ % too small"));
}

}  // namespace
}  // namespace hetero
