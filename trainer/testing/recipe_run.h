#ifndef HETERO_TRAINER_TESTING_RECIPE_RUN_H_
#define HETERO_TRAINER_TESTING_RECIPE_RUN_H_

// Whole runs inside a test: a recipe with fields changed, what it printed, the numbers of its
// steps.

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// A recipe with fields changed as by --set; aborts on a name or an assignment that is wrong. All
// folders of the configuration are the test's own; Fashion-MNIST is prepared once per test.
proto::RunConfig RecipeConfig(std::string_view recipe,
                              const std::vector<std::string>& assignments = {});

struct RecipeRunOptions {
  ModelRegistry models = BuiltInModels();
  bool dry_run = false;
  bool profile = false;
  std::filesystem::path trace = {};                      // below TestFolder(); empty: none
  std::filesystem::path picture = {};                    // likewise
  std::function<void(const StepMetrics&)> on_step = {};  // on the thread of the rank that logs
  std::function<void(const absl::Status&)> on_stuck = {};
};

struct RecipeRun {
  absl::Status status;
  std::vector<StepMetrics> steps;
  std::string output;  // all that went to the console
};

// One at a time: a run owns the stop signals of the process.
RecipeRun RunConfigured(const proto::RunConfig& config, const RecipeRunOptions& options = {});

// Value of `name` on the RESULT line of `output`; fails the test and returns NaN without one.
double ResultValue(std::string_view output, std::string_view name);

// Where relative folders of a run begin, writable by the test alone.
std::filesystem::path TestFolder();

}  // namespace hetero

#endif  // HETERO_TRAINER_TESTING_RECIPE_RUN_H_
