// Lists the legal splits of a recipe over a number of ranks by what they are predicted to do on a
// machine, and writes the recipe of one:
//   plan --recipe=fashion_tiny --ranks=4 --machine=machine.textproto --write=mine.textproto

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/models/registry.h"
#include "hetero/tools/plan/candidates.h"
#include "hetero/tools/plan/splits.h"
#include "hetero/tools/tool_main.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/load_config.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/timing/image_histogram.h"
#include "hetero/trainer/timing/machine_table.h"

ABSL_FLAG(std::string, recipe, "", "recipe that the program carries");
ABSL_FLAG(std::string, config, "", "file with a configuration, instead of a recipe");
ABSL_FLAG(std::vector<std::string>, set, {}, "fields to change, PATH=VALUE");
ABSL_FLAG(int64_t, ranks, 0, "ranks to lay it out over");
ABSL_FLAG(std::string, machine, "", "table of the machine, or h200");
ABSL_FLAG(double, memory_gib, 0, "of a rank at most; 0: no limit");
ABSL_FLAG(bool, read_samples, true, "predict for the recipe's samples; else for the largest");
ABSL_FLAG(std::string, images, "",
          "file with the sizes of a data set's images, a line \"height width count\" each: predict "
          "for these instead of the recipe's samples");
ABSL_FLAG(std::string, write, "", "file for the chosen recipe");
ABSL_FLAG(int, choose, 1, "which of the list");

namespace hetero {
namespace {

absl::StatusOr<std::vector<Candidate>> PredictAll(const std::vector<RecipeSplit>& splits,
                                                  const ModelRegistry& models,
                                                  const MachineTable& machine,
                                                  const PlannedSamples& samples,
                                                  const StopSignals& signals) {
  std::vector<Candidate> candidates;
  std::string refused;
  for (const RecipeSplit& split : splits) {
    absl::StatusOr<Candidate> candidate = Predict(split, models, machine, samples, signals);
    if (absl::IsCancelled(candidate.status())) return candidate.status();
    if (!candidate.ok()) {
      std::cout << split.name << ": " << candidate.status().message() << "\n";
      continue;
    }
    const double gib = static_cast<double>(candidate->rank_bytes) / (int64_t{1} << 30);
    const double most = absl::GetFlag(FLAGS_memory_gib);
    if (most > 0 && gib > most) {
      refused = absl::StrCat(split.name, " needs ", gib, " GiB a rank");
      continue;
    }
    candidates.push_back(*std::move(candidate));
  }
  if (!candidates.empty()) return candidates;
  return absl::InvalidArgumentError(
      absl::StrCat("no split fits into --memory_gib=", absl::GetFlag(FLAGS_memory_gib),
                   refused.empty() ? "" : "; the last one, ", refused));
}

absl::Status Main() {
  const int64_t num_ranks = absl::GetFlag(FLAGS_ranks);
  if (num_ranks < 1) return absl::InvalidArgumentError("--ranks is at least 1");
  if (absl::GetFlag(FLAGS_machine).empty()) {
    return absl::InvalidArgumentError(
        "--machine is not set; name a table that //tools/bench:machine wrote, or h200");
  }
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path folder, WorkingFolder());
  HETERO_ASSIGN_OR_RETURN(const MachineTable machine,
                          LoadMachine(absl::GetFlag(FLAGS_machine), folder));
  CommandLine line;
  const auto set = [](const std::string& value, std::optional<std::string>& field) {
    if (!value.empty()) field = value;
  };
  set(absl::GetFlag(FLAGS_recipe), line.recipe);
  set(absl::GetFlag(FLAGS_config), line.config);
  for (const std::string& field : absl::GetFlag(FLAGS_set)) {
    line.fields.push_back({.prefix = "--set ", .assignment = field});
  }
  HETERO_ASSIGN_OR_RETURN(const LoadedConfig loaded, LoadConfig(line, folder));
  const ModelRegistry models = BuiltInModels();
  HETERO_ASSIGN_OR_RETURN(const std::vector<RecipeSplit> splits,
                          LegalSplits(loaded.config, num_ranks, models));
  const StopSignals signals;
  PlannedSamples samples;
  if (const std::string images = absl::GetFlag(FLAGS_images); !images.empty()) {
    HETERO_ASSIGN_OR_RETURN(const std::string text, data::ReadFile(folder / images));
    HETERO_ASSIGN_OR_RETURN(samples.images, ParseImageHistogram(text, images));
  } else if (absl::GetFlag(FLAGS_read_samples)) {
    const proto::RunConfig config = Resolve(splits.front().config);
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            models.Make(config.model(), StorageOf(config)));
    absl::StatusOr<RunSamples> opened =
        PrepareSamples(config, ContractOf(model->graph()), /*num_lanes=*/1, folder,
                       {.stop_requested = [&signals] { return signals.requested() != 0; },
                        .message = [](std::string_view text) { std::cout << text << std::endl; }});
    HETERO_RETURN_IF_ERROR(opened.status())
        .With("the recipe's samples; --images or --read_samples=false does without them");
    samples.samples = *std::move(opened);
  }
  HETERO_ASSIGN_OR_RETURN(std::vector<Candidate> candidates,
                          PredictAll(splits, models, machine, samples, signals));
  Rank(candidates);
  std::cout << DescribeCandidates(candidates) << std::endl;
  const int choice = absl::GetFlag(FLAGS_choose);
  if (choice < 1 || choice > std::ssize(candidates)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--choose is ", choice, ", from 1 to ", candidates.size()));
  }
  const std::string written = absl::GetFlag(FLAGS_write);
  if (written.empty()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(data::WriteFileAtomically(
      folder / written, ToText(candidates[static_cast<size_t>(choice - 1)].split.config)));
  std::cout << "written: " << (folder / written).native() << std::endl;
  return absl::OkStatus();
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Lists the splits of a recipe over ranks by predicted speed.");
  absl::ParseCommandLine(argc, argv);
  return hetero::ToolMain(hetero::Main);
}
