#ifndef HETERO_CKPT_PUBLISH_RESUME_H_
#define HETERO_CKPT_PUBLISH_RESUME_H_

// Which checkpoint a run goes on from, and which are tried after it when it is damaged.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/publish/tracker.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct ResumeOptions {
  // Instead of the tracker's, and without anything after it.
  std::optional<int64_t> iteration = {};
  // Checkpoints that may turn out damaged before the run gives up.
  int64_t max_fallbacks = 1;
  // Whether a folder without a tracker means that the run starts anew.
  bool allow_fresh_start = false;
};

struct ResumePlan {
  // Names of folders, the first to try first. Empty: the run starts anew.
  std::vector<std::string> candidates;
  std::vector<std::string> warnings;
  // Iterations above the tracker, of a run that was set back: never tried.
  std::vector<int64_t> stale;
};

// `tracker` as all ranks have agreed on it. Reads names only.
// Errors: NOT_FOUND without a tracker and with nothing said about a fresh start, naming what is
// there; DATA_LOSS when the tracker cannot be read and no fallback is allowed or left.
absl::StatusOr<ResumePlan> PlanResume(Storage& storage, const std::filesystem::path& folder,
                                      const Tracker& tracker, const ResumeOptions& options);

struct ResumeReport {
  std::string checkpoint;             // the name of the folder; empty: a fresh start
  int64_t fallbacks = 0;              // candidates before it that were damaged
  std::vector<std::string> warnings;  // those of the plan and one a fallback
};

// Calls `load` with one candidate after the other until one is OK. DATA_LOSS of `load` means that
// the checkpoint is damaged, and the next is tried; any other error ends it. Every rank calls it
// with the same plan and a `load` that says the same on all of them.
// Errors: DATA_LOSS with what each candidate lacked; that of `load`.
absl::StatusOr<ResumeReport> ResumeFrom(
    const ResumePlan& plan, absl::FunctionRef<absl::Status(const std::string& name)> load);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_RESUME_H_
