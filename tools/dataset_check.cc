// Reads a WebDataset folder as a training run would, before one does, and prepares it.
//
//   bazel run //tools:dataset_check -- /data/photos
//   bazel run //tools:dataset_check -- --prepare /data/photos train=a-{000..98}.tar val=a-99.tar

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/file_lock.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/webdataset/check.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/data/webdataset/prepare_command.h"
#include "hetero/data/webdataset/shard_files.h"
#include "hetero/tools/tool_main.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/signals.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUsage =
    "Checks a folder of WebDataset shards: every shard against its index, every sample decoded.\n\n"
    "  dataset_check FOLDER                            check a prepared folder, write nothing\n"
    "  dataset_check --prepare FOLDER                  prepare it, or prepare it again as it was\n"
    "  dataset_check --prepare FOLDER SPLIT=SHARDS...  prepare it with these splits\n\n"
    "  SPLIT=SHARDS    Shards of a split, names relative to FOLDER or a pattern of them as\n"
    "                  train=a-{000..98}.tar; may repeat. A run trains on \"train\" and evaluates\n"
    "                  on \"val\". Without any, a folder that is not prepared gets all in "
    "\"train\".\n"
    "  --image=EXTENSIONS, --caption=EXTENSIONS\n"
    "                  Which members are image and caption, the first present of a list; with\n"
    "                  --prepare. png,jpg,jpeg,webp and txt for a folder that is not prepared.\n"
    "  --samples=FILE  What the samples are, a dataset.yaml of Megatron-Energon; with --prepare.\n"
    "                  CaptioningSample, VQASample, TextSample, or CrudeWebdataset for\n"
    "                  conversations.\n"
    "  --media_source=PLACE\n"
    "                  Where conversations find images that their samples do not hold, as\n"
    "                  aux.media_source of a metadataset: a prepared folder or "
    "filesystem://FOLDER;\n"
    "                  also without --prepare.\n\n"
    "Preparation writes FOLDER/.nv-meta and SHARD.tar.idx in Megatron-Energon's layout and puts\n"
    "samples that cannot be read on the exclude list of .nv-meta/split.yaml, which runs honour.\n"
    "Exit codes: 0 every sample that is not excluded can be read, 2 the command cannot work, 3 "
    "the\n"
    "data set is corrupt, 6 stopped by a signal, 7 out of memory, disk or open files.\n";

struct CommandLine {
  bool help = false;
  bool prepare = false;
  std::string folder;
  std::string image;
  std::string caption;
  std::string samples;
  std::string media_source;
  std::vector<std::pair<std::string, std::vector<std::string>>> splits;
};

// Sets what a flag "--image=" gives, `form` in the usage. Errors: INVALID_ARGUMENT when it gives
// nothing or a second value.
absl::Status TakeOnce(std::string_view flag, std::string_view form, std::string_view value,
                      std::string& field) {
  if (value.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, " is empty; write ", flag, form));
  }
  if (!field.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, field, " and ", flag, value, " are both given; give one of them"));
  }
  field = value;
  return absl::OkStatus();
}

absl::StatusOr<CommandLine> ParseCommandLine(std::span<char* const> arguments) {
  CommandLine line;
  for (std::string_view argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      line.help = true;
    } else if (argument == "--prepare") {
      line.prepare = true;
    } else if (absl::ConsumePrefix(&argument, "--image=")) {
      HETERO_RETURN_IF_ERROR(TakeOnce("--image=", "EXTENSIONS", argument, line.image));
    } else if (absl::ConsumePrefix(&argument, "--caption=")) {
      HETERO_RETURN_IF_ERROR(TakeOnce("--caption=", "EXTENSIONS", argument, line.caption));
    } else if (absl::ConsumePrefix(&argument, "--samples=")) {
      HETERO_RETURN_IF_ERROR(TakeOnce("--samples=", "FILE", argument, line.samples));
    } else if (absl::ConsumePrefix(&argument, "--media_source=")) {
      HETERO_RETURN_IF_ERROR(TakeOnce("--media_source=", "PLACE", argument, line.media_source));
    } else if (absl::StartsWith(argument, "-")) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag ", argument,
                       "; there are --prepare, --image, --caption, --samples, --media_source, "
                       "--help"));
    } else if (line.folder.empty()) {
      line.folder = argument;
    } else if (const size_t equals = argument.find('='); equals != argument.npos && equals > 0) {
      const std::string name(argument.substr(0, equals));
      auto split = std::find_if(line.splits.begin(), line.splits.end(),
                                [&](const auto& entry) { return entry.first == name; });
      if (split == line.splits.end()) split = line.splits.insert(split, {name, {}});
      split->second.emplace_back(argument.substr(equals + 1));
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument \"", argument,
                                                     "\"; a split is named as train=a-0.tar"));
    }
  }
  if (line.help) return line;
  if (line.folder.empty()) return absl::InvalidArgumentError("no folder is named; see --help");
  const bool sets_options =
      !line.splits.empty() || !line.image.empty() || !line.caption.empty() || !line.samples.empty();
  if (sets_options && !line.prepare) {
    return absl::InvalidArgumentError(
        "splits, --image, --caption and --samples are used with --prepare only");
  }
  return line;
}

// Changes what the samples are as the command says.
absl::Status SetFields(const CommandLine& line, const fs::path& working_folder,
                       data::SampleFields& fields) {
  if (!line.samples.empty()) {
    HETERO_ASSIGN_OR_RETURN(const std::string yaml, data::ReadFile(working_folder / line.samples));
    HETERO_ASSIGN_OR_RETURN(fields, data::ParseSampleFields(yaml));
  }
  if (line.image.empty() && line.caption.empty()) return absl::OkStatus();
  auto* const captioning = std::get_if<data::CaptioningFields>(&fields);
  if (captioning == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--image and --caption are of samples of class CaptioningSample, the folder's "
                     "are of class ",
                     data::ClassOf(fields)));
  }
  if (!line.image.empty()) captioning->image = line.image;
  if (!line.caption.empty()) captioning->caption = line.caption;
  return absl::OkStatus();
}

// The options of an earlier preparation, changed as the command says.
absl::StatusOr<data::PrepareOptions> OptionsFor(const CommandLine& line, const fs::path& root,
                                                const fs::path& working_folder) {
  data::PrepareOptions options;
  if (std::error_code error; fs::exists(root / data::kMetadataFolder, error)) {
    HETERO_ASSIGN_OR_RETURN(options, data::OptionsOfPrepared(root));
  }
  HETERO_RETURN_IF_ERROR(SetFields(line, working_folder, options.fields));
  if (!line.splits.empty()) options.splits = line.splits;
  if (options.splits.empty()) {
    HETERO_ASSIGN_OR_RETURN(data::ShardFiles files, data::FindShards(root));
    options.splits.emplace_back("train", std::move(files.shards));
  }
  return options;
}

void PrintSamples(std::string_view what, const std::vector<data::UnreadableSample>& samples) {
  for (const auto& [sample, reason] : samples) {
    absl::PrintF("%s %s: %s\n", what, sample, reason);
  }
}

void PrintSplit(std::string_view name, int64_t num_samples, int64_t num_excluded) {
  absl::PrintF("  %s: %d samples, %d more are excluded\n", name, num_samples, num_excluded);
}

// Unset where the command names none.
absl::StatusOr<std::shared_ptr<const data::MediaSource>> OpenMedia(const CommandLine& line,
                                                                   const fs::path& working_folder,
                                                                   const data::LongWork& work) {
  if (line.media_source.empty()) return nullptr;
  absl::StatusOr<data::MediaReference> reference = data::ParseMediaReference(line.media_source);
  HETERO_RETURN_IF_ERROR(reference.status()).With("--media_source");
  reference->path = (working_folder / reference->path).lexically_normal();
  return data::OpenMediaSource(*reference, work);
}

absl::Status Prepare(const CommandLine& line, const fs::path& root, const fs::path& working_folder,
                     const data::LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(const data::FileLock lock,
                          data::FileLock::Acquire(root / ".nv-meta.lock", work));
  HETERO_ASSIGN_OR_RETURN(data::PrepareOptions options, OptionsFor(line, root, working_folder));
  HETERO_ASSIGN_OR_RETURN(options.media, OpenMedia(line, working_folder, work));
  options.work = work;
  HETERO_ASSIGN_OR_RETURN(const data::PrepareReport report, data::PrepareDataset(root, options));
  for (const std::string& warning : report.warnings) absl::PrintF("warning: %s\n", warning);
  PrintSamples("excluded", report.excluded);
  absl::PrintF("%s: prepared %d samples in %d shards, %d that cannot be read are excluded\n",
               root.native(), report.num_samples, report.num_shards, report.excluded.size());
  for (const auto& [split, shards] : options.splits) {
    HETERO_ASSIGN_OR_RETURN(const auto dataset, data::Dataset::Open(root, split));
    PrintSplit(split, dataset->size(), dataset->num_excluded());
  }
  return absl::OkStatus();
}

absl::Status Check(const CommandLine& line, const fs::path& root, const fs::path& working_folder,
                   const data::LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const data::MediaSource> media,
                          OpenMedia(line, working_folder, work));
  const std::string place = media == nullptr ? "" : media->reference().ToString();
  const absl::StatusOr<data::CheckReport> checked = data::CheckDataset(root, work, media.get());
  HETERO_RETURN_IF_ERROR(data::WithPrepareCommand(checked.status(), root, place));
  const data::CheckReport& report = *checked;
  PrintSamples("cannot read", report.unreadable);
  absl::PrintF("%s: %d samples in %d shards, %d cannot be read\n", root.native(),
               report.num_samples, report.num_shards, report.unreadable.size());
  for (const data::CheckReport::Split& split : report.splits) {
    PrintSplit(split.name, split.num_samples, split.num_excluded);
  }
  if (report.unreadable.empty()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("a run stops at the first sample that cannot be read; to exclude them: ",
                   data::PrepareCommand(root, place)));
}

absl::Status Main(std::span<char* const> arguments) {
  HETERO_ASSIGN_OR_RETURN(const CommandLine line, ParseCommandLine(arguments));
  if (line.help) {
    std::fputs(kUsage.data(), stdout);
    return absl::OkStatus();
  }
  HETERO_ASSIGN_OR_RETURN(const fs::path working_folder, WorkingFolder());
  const fs::path root = (working_folder / line.folder).lexically_normal();
  if (std::error_code error; !fs::is_directory(root, error)) {
    return absl::NotFoundError(absl::StrCat("there is no folder ", root.native()));
  }
  const StopSignals signals;
  const data::LongWork work = {
      .stop_requested = [&signals] { return signals.requested() != 0; },
      .message = [](std::string_view text) { absl::FPrintF(stderr, "%s\n", text); }};
  return line.prepare ? Prepare(line, root, working_folder, work)
                      : Check(line, root, working_folder, work);
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  return hetero::ToolMain([&] { return hetero::Main(std::span(argv, argc).subspan(1)); });
}
