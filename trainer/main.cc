// The training program: `hetero` runs the default recipe, `hetero --help` tells the rest.

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/log/globals.h"
#include "absl/log/initialize.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config_text.h"
#include "hetero/trainer/console.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/signals.h"

ABSL_FLAG(std::string, recipe, std::string(hetero::kDefaultRecipe),
          "Run configuration that the program carries; --list_recipes names them.");
ABSL_FLAG(std::string, config, "", "File with a run configuration in text format, instead of one.");
ABSL_FLAG(std::string, device, "", "Short for --set device=CPU or CUDA.");
ABSL_FLAG(std::string, launch, "", "Short for --set launch=threads:N.");
ABSL_FLAG(bool, dry_run, false,
          "Print the plan, the memory, the operations and the collectives of a step, run nothing.");
ABSL_FLAG(bool, profile, false, "Print where the time of a step went, after the run.");
ABSL_FLAG(bool, print_config, false, "Print the resolved run configuration and stop.");
ABSL_FLAG(bool, list_recipes, false, "Print the names of the recipes and stop.");

namespace hetero {
namespace {

constexpr std::string_view kUsage =
    "Trains a multimodal model whose parts run on different rank grids.\n\n"
    "  hetero                                      the default recipe on CPU ranks\n"
    "  hetero --set train_steps=100 --set seed=7   with fields changed; --set may repeat\n"
    "  hetero --recipe=mock_tiny --dry_run         what a run would do\n";

// Takes every "--set path=value" out of the arguments.
absl::StatusOr<std::vector<std::string>> TakeAssignments(std::vector<char*>& arguments) {
  std::vector<std::string> assignments;
  std::vector<char*> rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view argument = arguments[i];
    if (argument == "--set" || argument == "-set") {
      if (i + 1 == arguments.size()) {
        return absl::InvalidArgumentError("--set needs path=value, such as --set train_steps=10");
      }
      assignments.emplace_back(arguments[++i]);
    } else if (absl::ConsumePrefix(&argument, "--set=")) {
      assignments.emplace_back(argument);
    } else {
      rest.push_back(arguments[i]);
    }
  }
  arguments = rest;
  return assignments;
}

// Where the command was typed: `bazel run` starts programs elsewhere.
std::filesystem::path WorkingFolder() {
  const char* typed = std::getenv("BUILD_WORKING_DIRECTORY");
  return typed != nullptr ? std::filesystem::path(typed) : std::filesystem::current_path();
}

absl::StatusOr<proto::RunConfig> LoadConfig(const std::filesystem::path& working_folder,
                                            const std::vector<std::string>& assignments) {
  proto::RunConfig config;
  if (const std::string file = absl::GetFlag(FLAGS_config); !file.empty()) {
    std::ifstream stream(working_folder / file);
    std::stringstream text;
    text << stream.rdbuf();
    if (!stream) {
      return absl::NotFoundError(absl::StrCat("--config=", file, " cannot be read"));
    }
    HETERO_ASSIGN_OR_RETURN(config, ParseRunConfig(text.str(), file));
  } else {
    const std::string name = absl::GetFlag(FLAGS_recipe);
    const std::optional<std::string_view> recipe = FindRecipe(name);
    if (!recipe.has_value()) {
      return absl::NotFoundError(absl::StrCat("--recipe=", name, " does not exist; there are ",
                                              absl::StrJoin(RecipeNames(), ", ")));
    }
    HETERO_ASSIGN_OR_RETURN(config, ParseRunConfig(*recipe, name));
  }
  for (const auto& [field, flag] : {std::pair("device", absl::GetFlag(FLAGS_device)),
                                    std::pair("launch", absl::GetFlag(FLAGS_launch))}) {
    if (flag.empty()) continue;
    std::string value = flag;
    if (std::string_view(field) == "device") absl::AsciiStrToUpper(&value);
    HETERO_RETURN_IF_ERROR(SetField(absl::StrCat(field, "=", value), config));
  }
  for (const std::string& assignment : assignments) {
    HETERO_RETURN_IF_ERROR(SetField(assignment, config));
  }
  return config;
}

absl::Status Main(std::vector<char*> arguments, Console& console) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> assignments, TakeAssignments(arguments));
  const std::vector<char*> positional =
      absl::ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
  if (positional.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("unexpected argument \"", positional[1],
                                                   "\"; fields are set with --set path=value"));
  }
  if (absl::GetFlag(FLAGS_list_recipes)) {
    console.Print(absl::StrJoin(RecipeNames(), "\n"));
    return absl::OkStatus();
  }
  const ModelRegistry models = BuiltInModels();
  RunOptions options{.working_folder = WorkingFolder(),
                     .dry_run = absl::GetFlag(FLAGS_dry_run),
                     .print_config = absl::GetFlag(FLAGS_print_config),
                     .profile = absl::GetFlag(FLAGS_profile)};
  HETERO_ASSIGN_OR_RETURN(options.config, LoadConfig(options.working_folder, assignments));
  StopSignals signals;
  return Run(options, models, console, signals);
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(hetero::kUsage);
  absl::InitializeLog();
  hetero::Console console(STDOUT_FILENO);
  const absl::Status status = hetero::Main(std::vector<char*>(argv, argv + argc), console);
  if (!status.ok()) {
    console.EndProgress();
    std::cerr << hetero::DescribeFailure(status) << std::endl;
  }
  return static_cast<int>(hetero::ExitCodeFor(status));
}
