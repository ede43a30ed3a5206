#ifndef HETERO_TRAINER_STEP_PARAMETER_NORM_H_
#define HETERO_TRAINER_STEP_PARAMETER_NORM_H_

// The norm of all parameters of a run: each element of each once, whoever holds it. Of what trains
// in bf16 the f32 masters count. One reduction over the world; its order, not its elements, depends
// on the layout.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/params/shard.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// One thread, the rank's, uses it. What it is made of outlives it.
class ParameterNorm {
 public:
  // `local`: of this rank's stages. `control`: joins all ranks, null when there is one.
  // `most_parameters`: trained ones of any module of the run.
  // Errors: those of Buffer::Allocate.
  static absl::StatusOr<std::unique_ptr<ParameterNorm>> Create(
      std::span<const std::unique_ptr<ModuleOptimizer>> local, Communicator* control,
      int64_t most_parameters, Stream& stream, MemoryLedger& ledger);

  // What this rank holds of a module, and whether it is the first of the data-parallel ranks that
  // hold the same of each gradient group.
  struct Holding {
    ShardSpec shard;
    bool dense_is_first = true;
    bool experts_are_first = true;
  };

  // Counts what no step changes, until then zero, of each of `local`. Waits for the device.
  absl::Status CountConstants(std::span<const Holding> holdings);

  // Queues the norm of the parameters as they are on the stream. Every rank calls it; of two that
  // were queued one must have been read.
  absl::Status Queue();

  // The oldest that was queued and not read, once the device has it; NaN where a parameter is
  // infinite or NaN. Precondition: there is one.
  absl::StatusOr<double> Read();

 private:
  static constexpr int64_t kNumFlights = 2;

  struct Flight {
    PinnedBuffer staging;
    Event arrived;
  };

  ParameterNorm(std::span<const std::unique_ptr<ModuleOptimizer>> local, Communicator* control,
                Stream& stream)
      : local_(local), control_(control), stream_(stream) {}

  std::span<const std::unique_ptr<ModuleOptimizer>> local_;
  Communicator* control_;
  Stream& stream_;
  double constant_squares_ = 0;  // of this rank
  Buffer buffer_;
  TensorView sums_;  // f64 {squares, zeros, then elements that are not finite by parameter}
  std::array<Flight, kNumFlights> flights_;
  int64_t queued_ = 0;
  int64_t read_ = 0;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_PARAMETER_NORM_H_
