#ifndef HETERO_TENSOR_OPS_CEILING_H_
#define HETERO_TENSOR_OPS_CEILING_H_

// What one core of this machine reaches, measured in the process that compares against it, and the
// counters benchmarks report: a rate and its fraction of that ceiling.

#include <cstdint>

#include "benchmark/benchmark.h"
#include "hetero/telemetry/call_ledger.h"

namespace hetero {

// Bytes read plus bytes written per second of a memory copy whose source and destination together
// are `working_set_bytes`: what a kernel with that working set can hope for.
double MeasuredCopyBytesPerSecond(int64_t working_set_bytes);

// Floating-point operations per second of a 512x512x512 product in f32.
double MeasuredGemmFlopsPerSecond();

// Adds "B/s" and "ceiling" for an iteration that has to move `bytes`, all of them distinct.
void ReportBytes(benchmark::State& state, double bytes);

// Adds "FLOP/s" and "ceiling" for an iteration that has to do `flops`.
void ReportFlops(benchmark::State& state, double flops);

// ReportFlops of all operations of `ledger`, which counted every iteration, and the microseconds of
// each as "<name> us".
void ReportOperations(benchmark::State& state, const CallLedger& ledger);

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CEILING_H_
