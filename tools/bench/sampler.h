#ifndef HETERO_TOOLS_BENCH_SAMPLER_H_
#define HETERO_TOOLS_BENCH_SAMPLER_H_

// Times calls that queue work on a stream: a sample is many calls back to back between two events
// of the stream, so that neither the clock's steps nor waiting for the device are in it.

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/stream.h"

namespace hetero::bench {

struct SamplerOptions {
  int samples = 15;
  double sample_ms = 20;         // at least
  int multiprocessors_left = 0;  // to others by a case's persistent kernels
};

// Of one call, over the samples.
struct Timing {
  double median_us = 0;
  double min_us = 0;
  double max_us = 0;
  double queue_us = 0;  // median, of the host: until the call is queued
  int samples = 0;
  int64_t calls = 0;  // in a sample

  // Distance of the extremes, relative to the median.
  double spread() const { return median_us > 0 ? (max_us - min_us) / median_us : 0; }
};

class Sampler {
 public:
  // `stream` outlives the sampler. Errors: those of Event::CreateTimed.
  static absl::StatusOr<Sampler> Create(Stream& stream, const SamplerOptions& options);

  // `call(i)` queues the i-th call. Warms up, finds how many calls fill a sample, then samples.
  // Errors: those of `call`, and what the device ran into.
  absl::StatusOr<Timing> Measure(absl::FunctionRef<absl::Status(int64_t)> call);

 private:
  Sampler(Stream& stream, const SamplerOptions& options, Event start, Event end);

  struct Sample {
    double device_ms = 0;
    double host_ms = 0;  // until all was queued
  };
  // Of `count` calls, from the `first`.
  absl::StatusOr<Sample> Time(absl::FunctionRef<absl::Status(int64_t)> call, int64_t first,
                              int64_t count);

  Stream* stream_;
  SamplerOptions options_;
  Event start_;
  Event end_;
};

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_SAMPLER_H_
