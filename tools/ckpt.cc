// Looks at checkpoints, compares and converts them, without a device.
//
//   bazel run //tools:ckpt -- list runs/7/checkpoints
//   bazel run //tools:ckpt -- verify runs/7/checkpoints

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/inspect/bucket_order.h"
#include "hetero/ckpt/inspect/bucketed_tensors.h"
#include "hetero/ckpt/inspect/contents.h"
#include "hetero/ckpt/inspect/convert.h"
#include "hetero/ckpt/inspect/difference.h"
#include "hetero/ckpt/inspect/repair.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/inspect/verify.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/models/registry.h"
#include "hetero/tools/tool_main.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/config/load_config.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/load_check.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/signals.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUsage =
    "Looks at checkpoints, compares and converts them, without a device.\n\n"
    "  ckpt list FOLDER             the checkpoints there and where a run goes on\n"
    "  ckpt list CHECKPOINT         its tensors and objects\n"
    "  ckpt verify FOLDER           read every byte of every checkpoint there\n"
    "  ckpt verify CHECKPOINT       read every byte and name damage by file and tensor\n"
    "  ckpt repair CHECKPOINT       make .metadata, metadata.json and manifest.crc again where "
    "they\n"
    "                               are damaged or absent and all that they tell of is whole\n"
    "  ckpt diff FIRST SECOND       compare tensors by name: bytes, and how far numbers differ\n"
    "  ckpt convert FROM FOLDER     write FROM's tensors as safetensors files or, with\n"
    "                               --iteration, as a checkpoint that runs and Megatron load\n"
    "  ckpt can-load CHECKPOINT FLAGS whether the run that hetero would start with FLAGS "
    "(--recipe,\n"
    "                               --config, --set) can begin with it: what each of its modules\n"
    "                               finds, what is missing and what nobody wants\n\n"
    "  FIRST, SECOND, FROM          a checkpoint, also one that torch.distributed.checkpoint or\n"
    "                               Megatron wrote, a safetensors file, or a folder of those\n"
    "  --iteration=N                of convert: the checkpoint's number\n"
    "  --prefix=NAME                of convert: only tensors whose names begin so\n"
    "  --buckets=FILE               of convert: what is in FROM's dp_reshardable optimizer state\n"
    "                               (ckpt/docs/buckets.md)\n\n"
    "Exit codes: 0 done and nothing is wrong, 2 the command cannot work, 3 damage, differences or\n"
    "a checkpoint that a run cannot load, 6 stopped by a signal, 7 out of memory or disk.\n";

constexpr std::string_view kCanLoad = "can-load";

struct Request {
  bool help = false;
  std::string_view command;
  std::vector<std::string_view> paths;
  std::string_view prefix;
  std::string_view buckets;
  std::optional<int64_t> iteration;
  CommandLine run;  // of can-load
};

// can-load CHECKPOINT, and flags of the training program.
absl::StatusOr<Request> ParseCanLoad(std::span<char* const> arguments) {
  Request line{.command = kCanLoad};
  if (arguments.empty() || absl::StartsWith(arguments[0], "-")) {
    return absl::InvalidArgumentError("can-load takes a path, then flags; see --help");
  }
  line.paths.push_back(arguments[0]);
  HETERO_ASSIGN_OR_RETURN(line.run, ParseCommandLine(arguments.subspan(1)));
  line.help = line.run.help;
  const CommandLine taken{.config = line.run.config,
                          .recipe = line.run.recipe,
                          .fields = line.run.fields,
                          .help = line.run.help};
  if (line.run != taken) {
    return absl::InvalidArgumentError(
        "of the flags of hetero can-load takes those that make a configuration: --recipe, "
        "--config, --set and what is short for it");
  }
  return line;
}

absl::StatusOr<Request> ParseRequest(std::span<char* const> arguments) {
  if (!arguments.empty() && arguments[0] == kCanLoad) return ParseCanLoad(arguments.subspan(1));
  Request line;
  for (std::string_view argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      line.help = true;
    } else if (absl::ConsumePrefix(&argument, "--prefix=")) {
      line.prefix = argument;
    } else if (absl::ConsumePrefix(&argument, "--buckets=")) {
      line.buckets = argument;
    } else if (absl::ConsumePrefix(&argument, "--iteration=")) {
      if (!absl::SimpleAtoi(argument, &line.iteration.emplace()) || *line.iteration < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("--iteration=", argument, " is no number; write --iteration=0"));
      }
    } else if (absl::StartsWith(argument, "-")) {
      return absl::InvalidArgumentError(absl::StrCat(
          "unknown flag ", argument, "; there are --buckets, --iteration, --prefix, --help"));
    } else if (line.command.empty()) {
      line.command = argument;
    } else {
      line.paths.push_back(argument);
    }
  }
  if (line.help) return line;
  const bool one = line.command == "list" || line.command == "verify" || line.command == "repair";
  const bool two = line.command == "diff" || line.command == "convert";
  if (!one && !two) {
    return absl::InvalidArgumentError(
        line.command.empty()
            ? "no command is given; see --help"
            : absl::StrCat(
                  "\"", line.command,
                  "\" is no command; there are list, verify, repair, diff, convert, can-load"));
  }
  if (line.paths.size() != (one ? 1 : 2)) {
    return absl::InvalidArgumentError(absl::StrCat(line.command, " takes ", one ? 1 : 2,
                                                   one ? " path, " : " paths, ", line.paths.size(),
                                                   " are given; see --help"));
  }
  if ((!line.prefix.empty() || !line.buckets.empty() || line.iteration.has_value()) &&
      line.command != "convert") {
    return absl::InvalidArgumentError(
        "--buckets, --prefix and --iteration are used with convert only");
  }
  return line;
}

absl::Status List(Storage& storage, const fs::path& path) {
  if (KindOfCheckpoint(storage, path) == CheckpointKind::kOurs) {
    HETERO_ASSIGN_OR_RETURN(const std::string text, CheckpointText(storage, path));
    std::fputs(text.c_str(), stdout);
    return absl::OkStatus();
  }
  HETERO_ASSIGN_OR_RETURN(const FolderContents contents, ListFolder(storage, path));
  std::fputs(FolderText(contents).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Verify(Storage& storage, const fs::path& path,
                    const std::function<absl::Status()>& go_on) {
  std::vector<fs::path> checkpoints = {path};
  if (KindOfCheckpoint(storage, path) != CheckpointKind::kOurs && !IsCommitted(storage, path)) {
    HETERO_ASSIGN_OR_RETURN(const FolderContents contents, ListFolder(storage, path));
    checkpoints.clear();
    for (const CheckpointSummary& at : contents.checkpoints) {
      if (KindOfCheckpoint(storage, path / at.name) == CheckpointKind::kForeign) {
        absl::PrintF("%s: %s\n", at.name, at.problem);
      } else {
        checkpoints.push_back(path / at.name);
      }
    }
    if (checkpoints.empty()) {
      return absl::NotFoundError(
          absl::StrCat(path.native(), " holds no checkpoint of this program"));
    }
  }
  int64_t damaged = 0;
  for (const fs::path& checkpoint : checkpoints) {
    const absl::StatusOr<VerifyReport> report =
        VerifyCheckpoint(storage, checkpoint, {.progress = [&](int64_t) { return go_on(); }});
    if (absl::IsNotFound(report.status()) && checkpoints.size() > 1) {
      absl::PrintF("%s\n", report.status().message());
      ++damaged;
      continue;
    }
    HETERO_RETURN_IF_ERROR(report);
    for (const Damage& damage : report->damages) {
      absl::PrintF("%s/%s\n", checkpoint.filename().native(), damage.ToString());
    }
    absl::PrintF("%s: %d files, %.3f GB, %d tensors, %d objects read; %d damages\n",
                 checkpoint.filename().native(), report->files,
                 static_cast<double>(report->bytes) * 1e-9, report->tensors, report->objects,
                 report->damages.size());
    if (!report->damages.empty()) ++damaged;
  }
  if (damaged == 0) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(damaged, " of ", checkpoints.size(), " checkpoints are damaged"));
}

absl::Status Repair(Storage& storage, const fs::path& checkpoint) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> repaired,
                          RepairCheckpoint(storage, checkpoint));
  for (const std::string& name : repaired) absl::PrintF("made %s again\n", name);
  absl::PrintF("%s: %d files were repaired; verify tells what else is damaged\n",
               checkpoint.filename().native(), repaired.size());
  return absl::OkStatus();
}

absl::Status Diff(Storage& storage, const fs::path& first, const fs::path& second,
                  const std::function<absl::Status(std::string_view)>& before_each) {
  HETERO_ASSIGN_OR_RETURN(const auto left, StoredTensors::Open(storage, first));
  HETERO_ASSIGN_OR_RETURN(const auto right, StoredTensors::Open(storage, second));
  HETERO_ASSIGN_OR_RETURN(const DifferenceReport report,
                          CompareTensors(*left, *right, before_each));
  for (const std::string& key : report.only_first) absl::PrintF("only in the first: %s\n", key);
  for (const std::string& key : report.only_second) absl::PrintF("only in the second: %s\n", key);
  for (const TensorDifference& at : report.different) absl::PrintF("%s\n", at.ToString());
  absl::PrintF("%d tensors are equal, %d differ, %d are only in the first, %d in the second\n",
               report.equal, report.different.size(), report.only_first.size(),
               report.only_second.size());
  if (report.none()) return absl::OkStatus();
  return absl::DataLossError("the two differ");
}

// `buckets`: the file of ReadBucketOrder; empty: none.
absl::Status Convert(Storage& storage, const fs::path& from, const fs::path& folder,
                     const fs::path& buckets, std::optional<int64_t> iteration,
                     const ConvertOptions& options) {
  HETERO_ASSIGN_OR_RETURN(auto tensors, StoredTensors::Open(storage, from));
  if (!buckets.empty()) {
    HETERO_ASSIGN_OR_RETURN(const auto groups, ReadBucketOrder(storage, buckets));
    HETERO_ASSIGN_OR_RETURN(tensors, OutOfBuckets(std::move(tensors), groups));
  }
  HETERO_ASSIGN_OR_RETURN(const int64_t count,
                          iteration.has_value()
                              ? PublishAsCheckpoint(*tensors, storage, folder, *iteration, options)
                              : WriteAsSafetensors(*tensors, storage, folder, options));
  absl::PrintF("%s: %d tensors\n", folder.native(), count);
  return absl::OkStatus();
}

absl::Status CanLoad(const CommandLine& line, const fs::path& checkpoint,
                     const fs::path& working_folder, const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(LoadedConfig loaded, LoadConfig(line, working_folder));
  loaded.config.mutable_checkpoint()->mutable_load()->set_folder(checkpoint.native());
  HETERO_ASSIGN_OR_RETURN(const Job job,
                          MakeJob({.config = std::move(loaded.config)}, BuiltInModels()));
  HETERO_ASSIGN_OR_RETURN(const LoadCheck check, CheckLoad(job, working_folder, signals));
  absl::PrintF("%s\n", check.ToString());
  if (check.fits()) return absl::OkStatus();
  return absl::DataLossError("the run cannot load it");
}

absl::Status Main(std::span<char* const> arguments) {
  HETERO_ASSIGN_OR_RETURN(const Request line, ParseRequest(arguments));
  if (line.help) {
    std::fputs(kUsage.data(), stdout);
    return absl::OkStatus();
  }
  HETERO_ASSIGN_OR_RETURN(const fs::path working_folder, WorkingFolder());
  std::vector<fs::path> paths;
  for (const std::string_view path : line.paths) {
    paths.push_back((working_folder / path).lexically_normal());
    // "folder/" has no last name.
    if (!paths.back().has_filename()) paths.back() = paths.back().parent_path();
  }
  const StopSignals signals;
  const auto go_on = [&] {
    return signals.requested() == 0
               ? absl::OkStatus()
               : absl::CancelledError(absl::StrCat(line.command, " was not finished"));
  };
  const auto before_each = [&](std::string_view) { return go_on(); };
  PosixStorage storage;
  if (line.command == "list") return List(storage, paths[0]);
  if (line.command == "repair") return Repair(storage, paths[0]);
  if (line.command == "verify") return Verify(storage, paths[0], go_on);
  if (line.command == kCanLoad) return CanLoad(line.run, paths[0], working_folder, signals);
  if (line.command == "diff") return Diff(storage, paths[0], paths[1], before_each);
  const fs::path buckets = line.buckets.empty() ? fs::path() : working_folder / line.buckets;
  return Convert(storage, paths[0], paths[1], buckets, line.iteration,
                 {.prefix = line.prefix, .before_each = before_each});
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  return hetero::ToolMain([&] { return hetero::Main(std::span(argv, argc).subspan(1)); });
}
