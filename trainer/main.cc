// The training program: `hetero` runs the default recipe, `hetero --help` tells the rest.

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/initialize.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/models/registry.h"
#include "hetero/tensor/ops/cpu_target.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/load_config.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/version/version.h"

namespace hetero {
namespace {

std::string Help() {
  std::string text(
      "Trains a multimodal model whose parts run on different rank grids.\n\n"
      "  hetero                                      the default recipe on CPU ranks\n"
      "  hetero --set train_steps=100 --set seed=7   with fields changed\n"
      "  hetero --recipe=mock_tiny --dry_run         what a run would do\n\n"
      "Flags:\n");
  size_t width = 0;
  for (const FlagDescription& flag : FlagTable()) width = std::max(width, flag.form.size());
  for (const FlagDescription& flag : FlagTable()) {
    absl::StrAppendFormat(&text, "  %-*s  %s\n", width, flag.form, flag.meaning);
  }
  absl::StrAppend(&text, "\nExit codes:\n");
  for (const ExitCodeMeaning& row : ExitCodeTable()) {
    absl::StrAppendFormat(&text, "  %d  %s\n", static_cast<int>(row.code), row.meaning);
  }
  return text;
}

// A line for each, and which one runs when none is named.
absl::StatusOr<std::string> ListRecipes() {
  std::vector<std::string> lines;
  for (std::string_view name : RecipeNames()) {
    HETERO_ASSIGN_OR_RETURN(const proto::RunConfig config, ParseRunConfig(*FindRecipe(name), name));
    lines.push_back(absl::StrFormat("%-16s %s%s", name, config.description(),
                                    name == kDefaultRecipe ? " The default." : ""));
  }
  return absl::StrJoin(lines, "\n");
}

// Ends the process without destructors: of a stuck run a thread still uses everything, and a
// library that was refused memory may wait for ever in its own.
[[noreturn]] void Leave(const absl::Status& failure, std::string_view description) {
  std::cerr << description << std::endl;
  std::_Exit(static_cast<int>(ExitCodeFor(failure)));
}

absl::Status Main(std::span<char* const> arguments, Console& console, const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(const CommandLine line, ParseCommandLine(arguments));
  if (line.help) {
    console.Print(Help());
    return absl::OkStatus();
  }
  if (line.version) {
    console.Print(DescribeProgram());
    return absl::OkStatus();
  }
  if (line.list_recipes) {
    HETERO_ASSIGN_OR_RETURN(const std::string recipes, ListRecipes());
    console.Print(recipes);
    return absl::OkStatus();
  }
  if (line.cpu_target.has_value()) {
    HETERO_RETURN_IF_ERROR(LimitCpuTarget(*line.cpu_target)).With("--cpu_target");
  }
  const ModelRegistry models = BuiltInModels();
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path working_folder, WorkingFolder());
  HETERO_ASSIGN_OR_RETURN(LoadedConfig loaded, LoadConfig(line, working_folder));
  RunOptions options{.config = std::move(loaded.config),
                     .notes = std::move(loaded.replaced),
                     .working_folder = working_folder,
                     .program = absl::StrCat(ProgramName(), ": ", absl::StrJoin(arguments, " ")),
                     .dry_run = line.dry_run,
                     .print_config = line.print_config,
                     .profile = line.profile,
                     .trace = line.trace.value_or(""),
                     .picture = line.picture.value_or(""),
                     .on_stuck = [&console](const absl::Status& failure) {
                       // Whatever the failure, a rank that does not come back is one of its own.
                       const std::string record = FailureRecord(failure);
                       console.Log(record);
                       std::cerr << "\n";  // below a progress line
                       Leave(failure, record);
                     }};
  std::ranges::replace(options.program, '\n', ' ');
  return Run(options, models, console, signals);
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  absl::Status status = hetero::PrepareProcess();
  const hetero::StopSignals signals;
  absl::InitializeLog();
  hetero::LeaveOpenMpPlace();
  hetero::Console console(STDOUT_FILENO);
  if (status.ok()) {
    status = hetero::CatchExceptions(
        [&] { return hetero::Main(std::span(argv, argc).subspan(1), console, signals); });
  }
  status.Update(console.status());
  if (!status.ok()) {
    console.EndProgress();
    console.Log(hetero::FailureRecord(status));
    hetero::Leave(status, hetero::DescribeFailure(status));
  }
  return EXIT_SUCCESS;
}
