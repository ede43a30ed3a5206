// The training program: `hetero` runs the default recipe, `hetero --help` tells the rest.

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/initialize.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/comm/rendezvous/launch_place.h"
#include "hetero/comm/rendezvous/launcher.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/comm/rendezvous/server.h"
#include "hetero/models/registry.h"
#include "hetero/tensor/ops/cpu_target.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/explain_field.h"
#include "hetero/trainer/config/launch.h"
#include "hetero/trainer/config/load_config.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/replay/replay.h"
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
    lines.push_back(absl::StrFormat("%-22s %s%s", name, config.description(),
                                    name == kDefaultRecipe ? " The default." : ""));
  }
  return absl::StrJoin(lines, "\n");
}

// How the process ends when it fails.
struct Ending {
  int failures = -1;  // where the launcher that started this process listens; -1: there is none

  // Without destructors: of a stuck run a thread still uses everything, and a library that was
  // refused memory may wait for ever in its own.
  [[noreturn]] void Leave(const absl::Status& failure, const std::string& description) const {
    const int code = static_cast<int>(ExitCodeFor(failure));
    if (failures >= 0) {
      TellLauncher(failures, code, std::string(failure.message()), description);
    } else {
      std::cerr << description << std::endl;
    }
    std::_Exit(code);
  }
};

// Starts the ranks as processes and ends as the first of them that failed did, its failure last.
absl::Status Launch(const RunOptions& options, const ModelRegistry& models,
                    std::span<char* const> arguments, const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(const Job job, MakeJob(options, models));
  std::vector<std::string> command = {"hetero"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  HETERO_ASSIGN_OR_RETURN(const LaunchOutcome outcome,
                          LaunchProcesses(job.layout->world_size(), command,
                                          [&signals] { return signals.requested(); }));
  if (outcome.exit_code == 0) return absl::OkStatus();
  const std::string last = absl::StrCat("error: ", outcome.first_line);
  if (!outcome.failure.empty() && outcome.failure != last) std::cerr << outcome.failure << "\n";
  std::cerr << last << std::endl;
  std::_Exit(outcome.exit_code);
}

// Runs as the rank that `place` says.
absl::Status RunAsRank(const LaunchPlace& place, RunOptions options, const ModelRegistry& models,
                       Console& console, const StopSignals& signals) {
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(options.config, models)));
  const proto::RunConfig resolved = Resolve(options.config);
  const absl::Duration timeout = absl::Seconds(resolved.collective_timeout_seconds());
  const absl::Duration arrival = absl::Seconds(resolved.arrival_timeout_seconds());
  std::unique_ptr<RendezvousServer> server;
  if (place.rank == GlobalRank(0)) {
    HETERO_ASSIGN_OR_RETURN(server, RendezvousServer::Start({.world_size = place.world_size,
                                                             .port = place.port,
                                                             .listening = place.listening,
                                                             .timeout = timeout,
                                                             .arrival_timeout = arrival}));
  }
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Rendezvous> rendezvous,
                          Rendezvous::Join({.rank = place.rank,
                                            .world_size = place.world_size,
                                            .host = place.host,
                                            .port = place.port,
                                            .timeout = timeout,
                                            .arrival_timeout = arrival,
                                            .is_listening = place.is_listening}));
  options.rendezvous = rendezvous.get();
  options.local_rank = place.local_rank;
  absl::Status status = Run(options, models, console, signals);
  if (!status.ok()) {
    const std::string self = absl::StrCat("rank ", place.rank);
    rendezvous->Abort(absl::StartsWith(status.message(), "rank ") ? status
                                                                  : Annotate(status, self));
    // What a rank was told by the run is not its own failure.
    if (absl::IsAborted(status)) status = rendezvous->HealthCheck();
  }
  rendezvous->Leave();
  return status;
}

absl::Status Main(std::span<char* const> arguments, Console& console, const StopSignals& signals,
                  Ending& ending) {
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
  HETERO_ASSIGN_OR_RETURN(const std::optional<LaunchPlace> place, FindLaunchPlace());
  if (place.has_value()) ending.failures = place->failures;
  const ModelRegistry models = BuiltInModels();
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path working_folder, WorkingFolder());
  const auto on_stuck = [&console, &ending](const absl::Status& failure) {
    // Whatever the failure, a rank that does not come back is one of its own.
    const std::string record = FailureRecord(failure);
    console.Log(record);
    std::cerr << "\n";  // below a progress line
    ending.Leave(failure, record);
  };
  if (line.replay.has_value()) {
    if (place.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--replay=", *line.replay, " is one process; start it without a launcher of ranks"));
    }
    return Replay(
        {.capsule = (working_folder / *line.replay).lexically_normal(), .on_stuck = on_stuck},
        models, console, signals);
  }
  HETERO_ASSIGN_OR_RETURN(LoadedConfig loaded, LoadConfig(line, working_folder));
  if (line.explain.has_value()) {
    HETERO_ASSIGN_OR_RETURN(const std::string explained,
                            ExplainField(*line.explain, loaded.config));
    console.Print(explained);
    return absl::OkStatus();
  }
  if (place.has_value()) {
    const std::string launch = ProcessesLaunch(place->world_size);
    if (loaded.config.launch() != launch) {
      loaded.replaced.push_back(absl::StrCat("launch ", launch, " of ", place->launcher,
                                             " takes the place of ", loaded.config.launch()));
      loaded.config.set_launch(launch);
    }
  }
  RunOptions options{.config = std::move(loaded.config),
                     .notes = std::move(loaded.replaced),
                     .working_folder = working_folder,
                     .program = absl::StrCat(ProgramName(), ": ", absl::StrJoin(arguments, " ")),
                     .dry_run = line.dry_run,
                     .print_config = line.print_config,
                     .profile = line.profile,
                     .trace = line.trace.value_or(""),
                     .picture = line.picture.value_or(""),
                     .machine = line.machine.value_or(""),
                     .on_stuck = on_stuck};
  std::ranges::replace(options.program, '\n', ' ');
  const bool runs = !line.dry_run && !line.print_config;
  if (place.has_value() && runs) {
    return RunAsRank(*place, std::move(options), models, console, signals);
  }
  if (runs && AreProcesses(options.config.launch())) {
    return Launch(options, models, arguments, signals);
  }
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
  hetero::Ending ending;
  if (status.ok()) {
    status = hetero::CatchExceptions(
        [&] { return hetero::Main(std::span(argv, argc).subspan(1), console, signals, ending); });
  }
  status.Update(console.status());
  if (!status.ok()) {
    console.EndProgress();
    console.Log(hetero::FailureRecord(status));
    ending.Leave(status, hetero::DescribeFailure(status));
  }
  return EXIT_SUCCESS;
}
