// Writes what a run of a recipe begins with: parameters, samples, learning rates.

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/tools/bench/run_start_file.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/recipes/recipes.h"

ABSL_FLAG(std::string, recipe, std::string(hetero::kDefaultRecipe), "Recipe of the run.");
ABSL_FLAG(int64_t, steps, 0, "Steps of the run; 0: as the recipe says.");
ABSL_FLAG(std::string, output, "run_start.safetensors", "File to write.");

namespace hetero {
namespace {

absl::Status Main() {
  const std::string recipe = absl::GetFlag(FLAGS_recipe);
  const std::optional<std::string_view> text = FindRecipe(recipe);
  if (!text.has_value()) {
    return absl::NotFoundError(absl::StrCat("--recipe=", recipe, " does not exist; there are ",
                                            absl::StrJoin(RecipeNames(), ", ")));
  }
  HETERO_ASSIGN_OR_RETURN(proto::RunConfig config, ParseRunConfig(*text, recipe));
  if (const int64_t steps = absl::GetFlag(FLAGS_steps); steps != 0) config.set_train_steps(steps);
  // Where the command was typed: `bazel run` starts programs elsewhere.
  const char* typed = std::getenv("BUILD_WORKING_DIRECTORY");
  const std::filesystem::path folder = typed != nullptr ? typed : ".";
  return WriteRunStart(config, folder, folder / absl::GetFlag(FLAGS_output),
                       {.message = [](std::string_view line) { std::cout << line << std::endl; }});
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Writes what a run begins with: parameters, samples, learning rates.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = hetero::Main();
  if (!status.ok()) std::cerr << "error: " << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}
