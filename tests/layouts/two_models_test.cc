// One process trains two models at once, in lockstep: each gets the numbers that it gets alone.

#include <fcntl.h>
#include <unistd.h>

#include <barrier>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

constexpr int kNumSteps = 6;

// Of each step its sums and its gradient norm.
using Numbers = std::vector<double>;

class TwoModelsTest : public testing::Test {
 protected:
  ~TwoModelsTest() override { close(nowhere_); }

  // `after_step` runs on a rank's thread while the others go on.
  Numbers Train(const proto::RunConfig& config, const std::function<void()>& after_step) {
    Numbers numbers;
    Console console(nowhere_);
    EXPECT_THAT(hetero::Run({.config = config,
                             .working_folder = TestFolder(),
                             .on_step =
                                 [&](const StepMetrics& step) {
                                   for (const LossSum& loss : step.losses) {
                                     numbers.insert(numbers.end(), {loss.sum, loss.count});
                                   }
                                   numbers.push_back(step.grad_norm.value());
                                   after_step();
                                 }},
                            BuiltInModels(), console, signals_),
                ::absl_testing::IsOk());
    return numbers;
  }

 private:
  const int nowhere_ = open("/dev/null", O_WRONLY | O_CLOEXEC);
  const StopSignals signals_;
};

TEST_F(TwoModelsTest, TrainInOneProcessAsEachDoesAlone) {
  const std::vector<std::string> fields = {absl::StrCat("train_steps=", kNumSteps)};
  const proto::RunConfig configs[] = {RecipeConfig("mock_vlm_tiny", fields),
                                      RecipeConfig("mock_avlm_tiny", fields)};
  Numbers alone[2], together[2];
  for (int i = 0; i < 2; ++i) alone[i] = Train(configs[i], [] {});
  std::barrier steps(2);
  {
    std::vector<std::jthread> runs;
    for (int i = 0; i < 2; ++i) {
      runs.emplace_back([&, i] {
        together[i] = Train(configs[i], [&] { steps.arrive_and_wait(); });
        steps.arrive_and_drop();  // the other's last steps, if this run has failed
      });
    }
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_GT(alone[i].size(), 3 * kNumSteps) << i;
    EXPECT_EQ(together[i], alone[i]) << i;
  }
  EXPECT_NE(alone[0], alone[1]);
}

}  // namespace
}  // namespace hetero
