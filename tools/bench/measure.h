#ifndef HETERO_TOOLS_BENCH_MEASURE_H_
#define HETERO_TOOLS_BENCH_MEASURE_H_

// Measures cases against what the device reaches in the same run.
//
// A case runs three times: on the shape-only device for the operations it consists of and the
// memory they take, then forward and forward with backward on the device. Its operands are made
// often enough that calls, which take turns on them, find none in a cache.

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/device.h"
#include "hetero/tools/bench/case.h"
#include "hetero/tools/bench/sampler.h"
#include "hetero/tools/bench/sizes.h"

namespace hetero::bench {

// Per second, in the storage type of the device.
struct Ceilings {
  double copy_bytes = 0;  // read plus written
  double gemm_flops = 0;
};

// One direction of a case, as its operations account for it.
struct Pass {
  Timing timing;
  double flops = 0;
  double bytes = 0;
  // Σ over operations of the longer of the times that bytes and FLOPs take at the ceilings.
  double floor_us = 0;

  double share() const { return timing.median_us > 0 ? floor_us / timing.median_us : 0; }
};

struct Row {
  std::string name;
  absl::Status status;  // why there are no numbers: UNIMPLEMENTED on this device, as a rule
  Pass forward;
  std::optional<Pass> forward_backward;
  int64_t peak_bytes = 0;  // activations and scratch memory of forward and backward
};

// A copy and a square product, both larger than the caches.
absl::StatusOr<Ceilings> MeasureCeilings(const Sizes& sizes, Device device,
                                         const SamplerOptions& options);

Row Measure(const Case& one, Device device, const Ceilings& ceilings,
            const SamplerOptions& options);

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_MEASURE_H_
