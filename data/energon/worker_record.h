#ifndef HETERO_DATA_ENERGON_WORKER_RECORD_H_
#define HETERO_DATA_ENERGON_WORKER_RECORD_H_

// The state of a worker as bytes, for checkpoints.
//
// A line with the format's name and version, then little endian, in this order, all of 64 bits but
// flags, which are bytes; a list or text has its length before it:
//
//   worker, batch size, batches of a virtual epoch (0 without)
//   text of Describe(options)
//   list of data sets: draws, in an epoch?, list of pending slices, list of open (slice, next
//     sample), repetitions, samples of the repetition
//   blend: draws, list of flags: ended?
//   shuffle buffer: draws, draining?, list of (data set, place)
//   rounds, batches of the round, pass ended? round ended?
//   FNV-1a of all bytes before it

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/worker_stream.h"

namespace hetero::data {

std::string FormatWorkerRecord(const LoaderPlan& plan, int64_t worker, const WorkerState& state);

// The state of `worker` for a loader of `plan`. Batches count anew where the batch size is a
// divisor of the saved one.
// Errors: DATA_LOSS for bytes that are cut or damaged; FAILED_PRECONDITION, with what was saved and
// what is now, for another version, worker, order of samples or share of a virtual epoch, and for a
// batch size that is no divisor.
absl::StatusOr<WorkerState> ParseWorkerRecord(std::string_view bytes, const LoaderPlan& plan,
                                              int64_t worker);

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_WORKER_RECORD_H_
