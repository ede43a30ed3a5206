#ifndef HETERO_TRAINER_CONFIG_LOAD_CONFIG_H_
#define HETERO_TRAINER_CONFIG_LOAD_CONFIG_H_

// From a command line to the run configuration it asks for.

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

struct LoadedConfig {
  proto::RunConfig config;
  // What the command line put out of force, a sentence each, for the start of the run.
  std::vector<std::string> replaced;
};

// The recipe or the file that `line` names, with its fields set. A relative file begins at
// `working_folder`.
// Errors: NOT_FOUND for a recipe that does not exist; INVALID_ARGUMENT naming --config for what is
// no regular file, empty, longer than 4 MiB or not text; those of ParseRunConfig and SetFields.
absl::StatusOr<LoadedConfig> LoadConfig(const CommandLine& line,
                                        const std::filesystem::path& working_folder);

// Sets fields of `config`, which comes from `source`, in order. Of alternatives, such as
// train_steps and train_samples, the one that is set takes the place of the one that `source` has;
// the sentences returned say so: "--set train_samples=640 takes the place of train_steps of
// fashion_tiny".
// Errors: those of SetField with the flag as typed; INVALID_ARGUMENT naming two flags that set
// alternatives.
absl::StatusOr<std::vector<std::string>> SetFields(std::span<const FieldFlag> flags,
                                                   std::string_view source,
                                                   proto::RunConfig& config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_LOAD_CONFIG_H_
