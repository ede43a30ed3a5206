// The training program: `hetero` runs the default recipe, `hetero --help` tells the rest.

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/log/initialize.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/models/registry.h"
#include "hetero/tensor/ops/cpu_target.h"
#include "hetero/trainer/config_text.h"
#include "hetero/trainer/console.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/nearest_name.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/version/version.h"

ABSL_FLAG(std::string, recipe, std::string(hetero::kDefaultRecipe),
          "Run configuration that the program carries; --list_recipes names them.");
ABSL_FLAG(std::string, config, "",
          "File with a run configuration in text format, instead of a recipe.");
ABSL_FLAG(std::string, device, "", "Short for --set device=...: cpu or cuda.");
ABSL_FLAG(std::string, cpu_target, "",
          "Instructions that the CPU uses, avx2 or avx512, instead of the widest that it has.");
ABSL_FLAG(std::string, launch, "", "Short for --set launch=threads:N.");
ABSL_FLAG(bool, dry_run, false,
          "Print the plan, the memory, the operations and the collectives of a step, run nothing.");
ABSL_FLAG(bool, profile, false, "Print where the time of a step went, after the run.");
ABSL_FLAG(std::string, trace, "",
          "File for a trace of what every rank did when; open it in ui.perfetto.dev.");
ABSL_FLAG(bool, print_config, false, "Print the resolved run configuration and stop.");
ABSL_FLAG(bool, list_recipes, false, "Print what the recipes are for and stop.");
ABSL_FLAG(bool, version, false,
          "Print commit, compiler, libraries and devices of this program and stop.");

namespace hetero {
namespace {

constexpr std::string_view kUsage =
    "Trains a multimodal model whose parts run on different rank grids.\n\n"
    "  hetero                                      the default recipe on CPU ranks\n"
    "  hetero --set train_steps=100 --set seed=7   with fields changed\n"
    "  hetero --recipe=mock_tiny --dry_run         what a run would do\n\n"
    "  --set PATH=VALUE   Change a field of the configuration, any that --print_config shows;\n"
    "                     may repeat.\n";

// Flags that libraries linked into the program define are none of its own.
std::map<std::string_view, absl::CommandLineFlag*> OwnFlags() {
  std::map<std::string_view, absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (absl::EndsWith(flag->Filename(), "trainer/main.cc")) flags[name] = flag;
  }
  return flags;
}

std::string Help() {
  std::string text(kUsage);
  for (const auto& [name, flag] : OwnFlags()) {
    absl::StrAppendFormat(&text, "  %-18s %s\n",
                          absl::StrCat("--", name, flag->IsOfType<bool>() ? "" : "=..."),
                          flag->Help());
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

struct CommandLine {
  bool help = false;
  bool names_recipe = false;
  std::vector<std::string> assignments;  // "path=value", of every --set
};

// Sets the program's flags. Errors: INVALID_ARGUMENT naming the argument.
absl::StatusOr<CommandLine> ParseCommandLine(std::span<char* const> arguments) {
  const std::map<std::string_view, absl::CommandLineFlag*> flags = OwnFlags();
  CommandLine line;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view text = arguments[i];
    if (text == "-h") {
      line.help = true;
      continue;
    }
    if (!absl::ConsumePrefix(&text, "--")) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected argument \"", text, "\"; fields are set with --set path=value"));
    }
    const size_t equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    std::optional<std::string_view> value;
    if (equals != text.npos) value = text.substr(equals + 1);
    if (name == "help") {
      line.help = true;
      continue;
    }
    const auto flag = flags.find(name);
    if (flag == flags.end() && name != "set") {
      std::vector<std::string_view> known = {"help", "set"};
      for (const auto& [known_name, known_flag] : flags) known.push_back(known_name);
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag --", name, "; nearest: --", NearestName(name, known)));
    }
    if (!value.has_value() && name != "set" && flag->second->IsOfType<bool>()) value = "true";
    if (!value.has_value()) {
      if (++i == arguments.size()) {
        return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value"));
      }
      value = arguments[i];
    }
    if (name == "set") {
      line.assignments.emplace_back(*value);
    } else if (std::string error; !flag->second->ParseFrom(*value, &error)) {
      return absl::InvalidArgumentError(error);
    }
    if (name == "recipe") line.names_recipe = true;
  }
  if (line.names_recipe && !absl::GetFlag(FLAGS_config).empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--config=", absl::GetFlag(FLAGS_config), " and --recipe=", absl::GetFlag(FLAGS_recipe),
        " are both whole configurations; give one of them, and change fields with --set"));
  }
  return line;
}

absl::StatusOr<proto::RunConfig> LoadConfig(const std::filesystem::path& working_folder,
                                            const std::vector<std::string>& assignments,
                                            const StopSignals& signals) {
  proto::RunConfig config;
  if (const std::string file = absl::GetFlag(FLAGS_config); !file.empty()) {
    absl::StatusOr<std::string> text = ReadText(working_folder / file, signals);
    HETERO_RETURN_IF_ERROR(text.status()).With("--config");
    HETERO_ASSIGN_OR_RETURN(config, ParseRunConfig(*text, file));
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
    HETERO_RETURN_IF_ERROR(SetField(absl::StrCat(field, "=", flag), config));
  }
  for (const std::string& assignment : assignments) {
    HETERO_RETURN_IF_ERROR(SetField(assignment, config));
  }
  return config;
}

// Ends the process without destructors: of a stuck run a thread still uses everything, and a
// library that was refused memory may wait for ever in its own.
[[noreturn]] void Leave(const absl::Status& failure) {
  std::cerr << DescribeFailure(failure) << std::endl;
  std::_Exit(static_cast<int>(ExitCodeFor(failure)));
}

absl::Status Main(std::span<char* const> arguments, Console& console, const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(const CommandLine line, ParseCommandLine(arguments));
  if (line.help) {
    console.Print(Help());
    return absl::OkStatus();
  }
  if (absl::GetFlag(FLAGS_version)) {
    console.Print(DescribeProgram());
    return absl::OkStatus();
  }
  if (absl::GetFlag(FLAGS_list_recipes)) {
    HETERO_ASSIGN_OR_RETURN(const std::string recipes, ListRecipes());
    console.Print(recipes);
    return absl::OkStatus();
  }
  if (const std::string target = absl::GetFlag(FLAGS_cpu_target); !target.empty()) {
    HETERO_RETURN_IF_ERROR(LimitCpuTarget(target)).With("--cpu_target");
  }
  const ModelRegistry models = BuiltInModels();
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path working_folder, WorkingFolder());
  RunOptions options{.working_folder = working_folder,
                     .dry_run = absl::GetFlag(FLAGS_dry_run),
                     .print_config = absl::GetFlag(FLAGS_print_config),
                     .profile = absl::GetFlag(FLAGS_profile),
                     .trace = absl::GetFlag(FLAGS_trace),
                     .on_stuck = [](const absl::Status& failure) {
                       std::cerr << "\n";  // below a progress line
                       Leave(failure);
                     }};
  options.program = absl::StrCat(ProgramName(), ": ", absl::StrJoin(arguments, " "));
  std::ranges::replace(options.program, '\n', ' ');
  HETERO_ASSIGN_OR_RETURN(options.config,
                          LoadConfig(options.working_folder, line.assignments, signals));
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
    console.Log(hetero::DescribeFailure(status));
    hetero::Leave(status);
  }
  return EXIT_SUCCESS;
}
