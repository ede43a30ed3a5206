#ifndef HETERO_TOOLS_BENCH_RUN_START_FILE_H_
#define HETERO_TOOLS_BENCH_RUN_START_FILE_H_

// What a run begins with, in a file, so that another program can train the same.

#include <filesystem>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Writes a safetensors file with every parameter and buffer as "<module>/<name>" (F32, of the whole
// model), "learning_rates" (F64 [steps], of every update when none is skipped) and "samples" (I64
// [steps, global batch], positions in the data set). Prepares the data as a run does; relative
// folders begin at `working_folder`, `message` receives lines for the user.
// Errors: INVALID_ARGUMENT with a violation of the configuration; those of PrepareSamples; those of
// writing, naming the file.
absl::Status WriteRunStart(const proto::RunConfig& config,
                           const std::filesystem::path& working_folder,
                           const std::filesystem::path& path,
                           absl::FunctionRef<void(std::string_view)> message);

}  // namespace hetero

#endif  // HETERO_TOOLS_BENCH_RUN_START_FILE_H_
