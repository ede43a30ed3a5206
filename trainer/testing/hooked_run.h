#ifndef HETERO_TRAINER_TESTING_HOOKED_RUN_H_
#define HETERO_TRAINER_TESTING_HOOKED_RUN_H_

// Runs with one rank that does what a test wants of it: throws, fails, sleeps, changes values.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/models/registry.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {

// Called with the number of the call, from 0, before the stage does its work; may change what the
// stage gets, and may throw. An error is the stage's. On a GPU `d_output` is not the host's.
struct StageHooks {
  std::function<absl::Status(int forward, StageInput& input)> before_forward;
  std::function<void(int backward, TensorView d_output)> before_backward;
  // Called once before that, with what the stage reads its weights from.
  std::function<void(ParameterStore& parameters)> on_made;
};

// The models of runs with hooks of one rank: the first that makes a stage of `module` with data.
ModelRegistry HookedModels(std::string_view module, const StageHooks& hooks);

// Runs mock_vlm_tiny, four microbatches a step, with `assignments`. Its models are
// HookedModels, not those of `options`.
RecipeRun RunHooked(std::string_view module, const StageHooks& hooks,
                    const std::vector<std::string>& assignments, RecipeRunOptions options = {});

}  // namespace hetero

#endif  // HETERO_TRAINER_TESTING_HOOKED_RUN_H_
