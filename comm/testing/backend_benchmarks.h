#ifndef HETERO_COMM_TESTING_BACKEND_BENCHMARKS_H_
#define HETERO_COMM_TESTING_BACKEND_BENCHMARKS_H_

// How long does a collective of a backend take between ranks of one machine, and how close to a
// memory copy? Arguments: ranks / KiB of the tensor. Bytes are the tensor's, so GB/s is the rate at
// which a rank sees its tensor reduced or delivered; "copy" is that over what one thread copies
// alone.

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "hetero/comm/communicator.h"

namespace hetero {

// Calls a function once for every rank, all at once. Errors: the first of any rank.
using BenchmarkedRun = absl::Status (*)(
    int64_t num_ranks, absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function);

// Registers the benchmarks with that backend, before main(); returns nothing of interest.
int RegisterBackendBenchmarks(BenchmarkedRun run);

}  // namespace hetero

#endif  // HETERO_COMM_TESTING_BACKEND_BENCHMARKS_H_
