#ifndef HETERO_TRAINER_FEED_RUN_QUARANTINE_H_
#define HETERO_TRAINER_FEED_RUN_QUARANTINE_H_

// Samples that a run passes over because they cannot be read: which, how many at most, and the file
// that names them.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/data/quarantine.h"
#include "hetero/data/webdataset/quarantine_list.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Those of one split.
struct SplitQuarantine {
  std::shared_ptr<data::Quarantine> samples = std::make_shared<data::Quarantine>();
  // A sample's name, and what is wrong with it by a reading of all of it. Thread safe. Errors:
  // those of data::Dataset::NameOf.
  std::function<absl::StatusOr<data::ListedSample>(int64_t index)> describe;
};

// Of the ranks of a process, which share it. All ranks of a run come to the same samples between
// the same two steps. Thread safe but for KeepIn.
class RunQuarantine {
 public:
  // Reads the file that `settings` name, if any. Relative paths begin at `working_folder`.
  // Errors: those of data::ReadQuarantine.
  static absl::StatusOr<std::shared_ptr<RunQuarantine>> Read(
      const proto::Quarantine& settings, const std::filesystem::path& working_folder);

  // What the file named, also of other data sets.
  std::span<const data::ListedSample> listed() const { return listed_; }

  // Where samples are named that are found from now on, unless the settings say where.
  void KeepIn(const std::filesystem::path& file) {
    if (file_.empty()) file_ = file;
  }

  // Counts what is in `split`, now and later.
  void Count(std::shared_ptr<const SplitQuarantine> split);

  // Samples of `split` cannot be read and are passed over from now on. Of all ranks of the run one
  // gives `tell`, which then gets a line for each; it adds them to the file.
  // Errors: DATA_LOSS when there are more than the settings allow, naming the first of these; those
  // of SplitQuarantine::describe and data::AddToQuarantine.
  absl::Status Add(const SplitQuarantine& split, std::span<const int64_t> samples,
                   const std::function<void(std::string_view)>& tell);

  // Errors: DATA_LOSS when there are more samples than the settings allow.
  absl::Status CheckSize() const;

 private:
  RunQuarantine(int64_t max_samples, std::filesystem::path file)
      : max_samples_(max_samples), file_(std::move(file)) {}

  int64_t size() const;

  const int64_t max_samples_;
  std::filesystem::path file_;
  std::vector<data::ListedSample> listed_;
  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<const SplitQuarantine>> splits_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_RUN_QUARANTINE_H_
