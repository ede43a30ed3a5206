#ifndef HETERO_TOOLS_BENCH_RUN_START_FILE_H_
#define HETERO_TOOLS_BENCH_RUN_START_FILE_H_

// What a run begins with, in a file, so that another program can train the same.

#include <filesystem>

#include "absl/status/status.h"
#include "hetero/data/file/long_work.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Writes a safetensors file with every parameter and buffer as "<module>/<name>" (F32, of the whole
// model), "learning_rates" (F64 [steps], of every update when none is skipped) and "samples" (I64
// [steps, global batch], positions in the data set). Prepares the data as a run does; relative
// folders begin at `working_folder`.
// Errors: INVALID_ARGUMENT with the violations of the configuration; those of PrepareSamples; those
// of writing, naming the file.
absl::Status WriteRunStart(const proto::RunConfig& config,
                           const std::filesystem::path& working_folder,
                           const std::filesystem::path& path, const data::LongWork& work);

}  // namespace hetero

#endif  // HETERO_TOOLS_BENCH_RUN_START_FILE_H_
