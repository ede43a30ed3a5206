#include "hetero/trainer/replay/capsule.h"

#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/data/file/file.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/launch.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/version/version.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr char kCapsuleFile[] = "capsule.json";
constexpr char kConfigFile[] = "config.textproto";
constexpr char kCheckpointFolder[] = "checkpoint";
constexpr int kFormat = 1;

absl::Status FileError(const std::error_code& error, std::string_view what, const fs::path& path) {
  return SystemError(error.value(), absl::StrCat(what, " ", path.native()));
}

// Of every file of `from`, below `to`.
absl::Status LinkTree(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  if (error) return FileError(error, "cannot create folder", to);
  for (fs::recursive_directory_iterator entry(from, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path target = to / entry->path().lexically_relative(from);
    if (entry->is_directory()) {
      fs::create_directories(target, error);
    } else {
      fs::create_hard_link(entry->path(), target, error);
    }
    if (error) return FileError(error, "cannot create", target);
  }
  return error ? FileError(error, "cannot read folder", from) : absl::OkStatus();
}

// A file of the capsule in `folder`.
absl::StatusOr<std::string> ReadPart(const fs::path& folder, std::string_view name) {
  absl::StatusOr<std::string> text = data::ReadFile(folder / name);
  HETERO_RETURN_IF_ERROR(text.status()).With("there is no capsule");
  return text;
}

std::string Bits(double value) { return FormatNumber("%a", value); }

nlohmann::json ToJson(const SeenStep& step) {
  nlohmann::json numbers = nlohmann::json::array();
  for (const auto& [name, text] : step.numbers) numbers.push_back({name, text});
  return {{"iteration", step.iteration}, {"numbers", std::move(numbers)}};
}

Capsule FromJson(const nlohmann::json& json) {
  Capsule capsule{.iteration = json.at("iteration").get<int64_t>(),
                  .cause = json.at("cause").get<std::string>(),
                  .failure = json.at("failure").get<std::string>(),
                  .config = {},
                  .working_folder = json.at("working_folder").get<std::string>(),
                  .program = json.at("program").get<std::string>(),
                  .checkpoint = json.at("checkpoint").get<std::string>(),
                  .saved_by_run = json.at("saved_by_run").get<bool>(),
                  .first_sample = json.at("first_sample").get<int64_t>(),
                  .num_samples = json.at("num_samples").get<int64_t>(),
                  .seen = {}};
  for (const nlohmann::json& step : json.at("seen")) {
    SeenStep& seen = capsule.seen.emplace_back();
    seen.iteration = step.at("iteration").get<int64_t>();
    for (const nlohmann::json& number : step.at("numbers")) {
      seen.numbers.emplace_back(number.at(0).get<std::string>(), number.at(1).get<std::string>());
    }
  }
  return capsule;
}

}  // namespace

SeenStep SeenOf(const StepMetrics& step) {
  SeenStep seen{.iteration = step.iteration, .numbers = {}};
  const auto add = [&](std::string name, double value) {
    seen.numbers.emplace_back(std::move(name), Bits(value));
  };
  for (const LossSum& loss : step.losses) {
    add(loss.name, loss.sum);
    add(absl::StrCat(loss.name, " count"), loss.count);
  }
  if (step.grad_norm.has_value()) add("grad norm", *step.grad_norm);
  if (step.num_zeros.has_value()) add("num zeros", static_cast<double>(*step.num_zeros));
  if (step.learning_rate.has_value()) add("learning rate", *step.learning_rate);
  add("consumed samples", static_cast<double>(step.consumed_samples));
  add("skipped", step.skipped ? 1 : 0);
  return seen;
}

absl::StatusOr<Capsule> WriteCapsule(const fs::path& folder, const fs::path& source,
                                     Capsule capsule) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return FileError(error, "cannot create folder", folder);
  capsule.checkpoint.clear();
  if (!source.empty()) {
    const fs::path checkpoint = fs::path(kCheckpointFolder) / source.filename();
    if (LinkTree(source, folder / checkpoint).ok()) {
      capsule.checkpoint = checkpoint.native();
    } else {
      fs::remove_all(folder / kCheckpointFolder, error);
      capsule.checkpoint = source.native();
    }
  }
  HETERO_RETURN_IF_ERROR(data::WriteFileAtomically(folder / kConfigFile, ToText(capsule.config)));
  nlohmann::json json = {{"format", kFormat},
                         {"iteration", capsule.iteration},
                         {"cause", capsule.cause},
                         {"failure", capsule.failure},
                         {"working_folder", capsule.working_folder},
                         {"program", capsule.program},
                         {"checkpoint", capsule.checkpoint},
                         {"saved_by_run", capsule.saved_by_run},
                         {"first_sample", capsule.first_sample},
                         {"num_samples", capsule.num_samples},
                         {"seen", nlohmann::json::array()}};
  for (const SeenStep& step : capsule.seen) json["seen"].push_back(ToJson(step));
  HETERO_RETURN_IF_ERROR(data::WriteFileAtomically(
      folder / kCapsuleFile,
      absl::StrCat(json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace), "\n")));
  return capsule;
}

absl::StatusOr<Capsule> ReadCapsule(const fs::path& folder) {
  HETERO_ASSIGN_OR_RETURN(const std::string text, ReadPart(folder, kCapsuleFile));
  HETERO_ASSIGN_OR_RETURN(const std::string config, ReadPart(folder, kConfigFile));
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat((folder / kCapsuleFile).native(), " is no capsule of this program: ", why));
  };
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return refuse("it is not JSON");
  if (json.value("format", 0) != kFormat) return refuse("its format is another one");
  Capsule capsule;
  try {
    capsule = FromJson(json);
  } catch (const nlohmann::json::exception& wrong) {
    return refuse(wrong.what());
  }
  absl::StatusOr<proto::RunConfig> parsed = ParseRunConfig(config, (folder / kConfigFile).native());
  HETERO_RETURN_IF_ERROR(parsed.status())
      .With(absl::StrCat("the configuration of ", capsule.program, " is not one of this program, ",
                         ProgramName()));
  capsule.config = *std::move(parsed);
  return capsule;
}

proto::RunConfig ReplayConfig(const Capsule& capsule, const fs::path& folder) {
  proto::RunConfig config = capsule.config;
  if (AreProcesses(config.launch())) {
    config.set_launch(absl::StrCat("threads:", ParseLaunch(config.launch()).value()));
  }
  config.clear_evaluation();
  config.clear_stop_after_minutes();
  config.set_stop_every_steps(capsule.iteration);
  config.mutable_spike_guard()->set_max_capsules(0);
  config.mutable_logging()->set_folder((folder / "replays").native());
  if (capsule.checkpoint.empty()) {
    config.clear_checkpoint();
    return config;
  }
  proto::Checkpoint& checkpoint = *config.mutable_checkpoint();
  checkpoint.clear_save();
  proto::LoadCheckpoint& load = *checkpoint.mutable_load();
  if (capsule.saved_by_run) load.Clear();
  load.clear_iteration();
  load.clear_allow_fresh_start();
  load.set_folder((folder / capsule.checkpoint).native());
  load.set_max_fallbacks(0);
  return config;
}

}  // namespace hetero
