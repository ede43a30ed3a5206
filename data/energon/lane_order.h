#ifndef HETERO_DATA_ENERGON_LANE_ORDER_H_
#define HETERO_DATA_ENERGON_LANE_ORDER_H_

// The samples of a run whose lanes read as ranks of Megatron-Energon's loader do.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/energon/worker_stream.h"
#include "hetero/data/sample_order.h"

namespace hetero::data {

// A microbatch of the run is a batch of each lane, lane after lane. Any process can ask for the
// samples of any lane: nothing is read for it but the plan.
//
// Workers go on from where they stand. What was asked for not long before is kept; what lies
// further back is drawn anew from the beginning, or from where the run was resumed.
class LaneOrder : public SampleSequence {
 public:
  // The number of a sample among those of the run; pure.
  using IndexOf = std::function<int64_t(const SampleReference&)>;

  // plan: a rank is a lane, a batch its share of a microbatch.
  // Precondition: it is of training without end and without virtual epochs.
  LaneOrder(std::shared_ptr<const LoaderPlan> plan, IndexOf index_of);

  int64_t IndexAt(int64_t global_index) override ABSL_LOCKS_EXCLUDED(mutex_);

  // A record of each worker, as it stands when the run has had `num_samples`, whole microbatches.
  // Cheapest in the order of the run.
  std::vector<std::string> Save(int64_t num_samples) ABSL_LOCKS_EXCLUDED(mutex_);

  // Goes on behind `num_samples`, whole microbatches, with what Save gave for as many, whichever
  // lanes its workers were of then. Places before are no longer those of that run.
  // Errors: FAILED_PRECONDITION unless there is a record of each worker, naming the nearest number
  // of workers of a lane, and for workers that do not stand as turns leave them here; those of
  // ParseWorkerRecord, with the worker.
  absl::Status Restore(int64_t num_samples, std::span<const std::string> records)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Worker {
    std::optional<WorkerState> restored;
    std::optional<WorkerStream> reading;
    std::deque<std::vector<int64_t>> recent;  // the last batches of `reading`, as numbers
    std::optional<WorkerStream> saving;       // where the last Save left it
  };

  int64_t of_microbatch() const;
  // What `worker` has given when the run has had so many.
  int64_t BatchesBefore(int64_t num_samples, int64_t worker) const;
  WorkerStream Begin(int64_t worker, int64_t batch) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::shared_ptr<const LoaderPlan> plan_;
  IndexOf index_of_;
  absl::Mutex mutex_;
  std::vector<Worker> workers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_LANE_ORDER_H_
