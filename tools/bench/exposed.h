#ifndef HETERO_TOOLS_BENCH_EXPOSED_H_
#define HETERO_TOOLS_BENCH_EXPOSED_H_

// How much of a layer's communication its products hide, and of the traffic of gradients and
// parameters: forward and backward of layers that ranks share, measured as it trains, with the side
// stream's work on the stream itself, and without its communication.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/tools/bench/sizes.h"

namespace hetero::bench {

struct ExposedOptions {
  bool on_gpus = true;  // over NCCL, one for each rank, in bf16; else threads in f32
  int64_t num_ranks = 2;
  int samples = 15;
  int calls = 10;  // in a sample
};

// Microseconds of one call of the slowest rank, the median of the samples.
struct ExposedRow {
  std::string name;      // "tp 2 layer.mamba"
  double with_us = 0;    // as it trains
  double serial_us = 0;  // without overlap
  double without_us = 0;
  double alone_us = 0;  // the layer's collectives one after another, nothing beside them
  double spread = 0;    // of with_us: distance of the extremes, relative to the median

  double exposed_us() const { return with_us - without_us; }
  double hidden_us() const { return alone_us - exposed_us(); }
};

// Tensor-parallel ranks first, then expert-parallel and data-parallel ones.
// Errors: those of the device and the layers.
absl::StatusOr<std::vector<ExposedRow>> MeasureExposed(const Sizes& sizes,
                                                       const ExposedOptions& options);

// A table, a line for each row.
std::string ToText(const std::vector<ExposedRow>& rows);

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_EXPOSED_H_
