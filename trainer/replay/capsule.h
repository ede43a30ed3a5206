#ifndef HETERO_TRAINER_REPLAY_CAPSULE_H_
#define HETERO_TRAINER_REPLAY_CAPSULE_H_

// A step that went wrong, with all that is needed to run it again: the configuration, a checkpoint
// from before it, and what the steps since then had reported, to the bit.

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// The numbers of a step by name, each as the text of its bits ("0x1.8p+1", "nan").
struct SeenStep {
  int64_t iteration = 0;
  std::vector<std::pair<std::string, std::string>> numbers;

  bool operator==(const SeenStep&) const = default;
};

SeenStep SeenOf(const StepMetrics& step);

struct Capsule {
  int64_t iteration = 0;    // of the step, from 1
  std::string cause;        // the line for people
  std::string failure;      // of a run that ended in the step or behind it; empty: it did not
  proto::RunConfig config;  // resolved
  std::string working_folder;
  std::string program;
  // Where the steps begin: "checkpoint/iter_0000100" in the capsule's folder, or elsewhere, then an
  // absolute path; empty: with the weights of the seed.
  std::string checkpoint;
  // That is one that the run itself had saved, else what the run had been told to load.
  bool saved_by_run = false;
  int64_t first_sample = 0;  // of the step
  int64_t num_samples = 0;
  std::vector<SeenStep> seen;  // behind the checkpoint, in their order
};

// Makes `folder`, with `source`, the checkpoint's folder, as "checkpoint/NAME" by hard links, so
// that it stays when the run lets it go; where there can be none, as on another file system,
// `source` itself is the checkpoint, and nothing is copied. An empty source: none. Returns the
// capsule with that checkpoint. Errors: those of the file system, naming the path.
absl::StatusOr<Capsule> WriteCapsule(const std::filesystem::path& folder,
                                     const std::filesystem::path& source, Capsule capsule);

// Errors: NOT_FOUND where there is none; INVALID_ARGUMENT naming what is missing or wrong in it.
absl::StatusOr<Capsule> ReadCapsule(const std::filesystem::path& folder);

// How the steps of the capsule in `folder`, an absolute path, run again: all ranks as threads, from
// the checkpoint, up to the step; nothing is evaluated or saved.
proto::RunConfig ReplayConfig(const Capsule& capsule, const std::filesystem::path& folder);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPLAY_CAPSULE_H_
