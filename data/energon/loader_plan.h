#ifndef HETERO_DATA_ENERGON_LOADER_PLAN_H_
#define HETERO_DATA_ENERGON_LOADER_PLAN_H_

// What each worker of a loader reads, known before the first sample on every rank.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/slice_loader.h"

namespace hetero::data {

// Workers are counted over all ranks: those of rank r are [r * W, (r + 1) * W), W of a rank.
class LoaderPlan {
 public:
  // Errors: those of Validate; FAILED_PRECONDITION naming a worker that training would leave
  // without a sample for ever, whose rank would wait.
  static absl::StatusOr<std::shared_ptr<const LoaderPlan>> Make(LoaderOptions options);

  const LoaderOptions& options() const { return options_; }

  // What `worker` reads of a data set. Precondition: 0 <= worker < shape.AllWorkers().
  WorkerSlices Slices(size_t split, int64_t worker) const;

  // How the slices of a data set come.
  SliceOrder OrderOf(size_t split) const;

  // What a pass of a data set is; unset: it has no end.
  std::optional<double> Repetitions(size_t split) const;

  // Of the data sets, as choice takes them; empty where they follow each other.
  std::vector<float> Weights(int64_t worker) const;

  // Batches of a virtual epoch that `worker` gives; unset without virtual epochs.
  std::optional<int64_t> BatchesOfEpoch(int64_t worker) const;

 private:
  explicit LoaderPlan(LoaderOptions options) : options_(std::move(options)) {}

  IndexRange RangeOf(size_t split, int64_t worker) const;
  absl::Status CheckWorker(int64_t worker) const;

  LoaderOptions options_;
  std::vector<std::vector<int64_t>> borders_;  // of workers, by data set
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_LOADER_PLAN_H_
