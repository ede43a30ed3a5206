#ifndef HETERO_OPTIM_MODULE_OPTIMIZER_H_
#define HETERO_OPTIM_MODULE_OPTIMIZER_H_

// The part of the optimizer that belongs to one module on one rank: its moments, its share of the
// gradient statistics and the update. A module without trainable parameters has none of them and
// contributes zeros. Parameters stored in bf16 have f32 masters here, which are what is updated;
// others are their own.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"
#include "hetero/optim/module_options.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// One update: what the host knows of it, and what the device decides.
struct AdamWUpdate {
  int64_t step = 1;  // of applied updates, from 1, this one included
  double learning_rate = 0;
  ConstTensorView decisions;  // of DecideUpdate
};

// Adam's state for one FlatGroup of the store, laid out like its values.
struct Moments {
  TensorView first;  // compute type
  TensorView second;
  TensorView master;  // null where the values are their own
};

// Ranges of the flat gradients whose squares a rank adds to the module's norm. Over all ranks of
// the module every element is counted once: data-parallel ranks take equal slices of what a rank
// owns (SharedRun).
struct StatisticsPiece {
  size_t group = 0;
  int64_t begin = 0;
  int64_t count = 0;
};
std::vector<StatisticsPiece> StatisticsPieces(std::span<const FlatGroup> groups, const Grid& grid,
                                              GlobalRank rank);

class ModuleOptimizer {
 public:
  // Allocates zero moments and masters (label optimizer). `store` and `ledger` outlive the
  // optimizer. Precondition: `rank` is in `grid`. Errors: those of Buffer::Allocate.
  static absl::StatusOr<std::unique_ptr<ModuleOptimizer>> Create(const AdamWOptions& options,
                                                                 ParameterStore& store,
                                                                 const Grid& grid, GlobalRank rank,
                                                                 Device device,
                                                                 MemoryLedger& ledger);

  const std::string& name() const { return name_; }

  // Nothing to train on this rank.
  bool frozen() const { return moments_.empty(); }

  // Makes the masters what the values are: after these were initialised or loaded.
  absl::Status LoadMasters(Stream& stream);

  // Adds this rank's share to totals = {sum of squares, non-finite elements}, f64[2].
  absl::Status AddStatistics(TensorView totals, Stream& stream);

  // Updates all parameters and their moments, if the update applies.
  absl::Status Apply(const AdamWUpdate& update, Stream& stream);

  // Parallel to store().groups().
  std::span<const Moments> moments() const { return moments_; }
  ParameterStore& store() { return store_; }

 private:
  ModuleOptimizer(const AdamWOptions& options, ParameterStore& store, std::string name)
      : options_(options), store_(store), name_(std::move(name)) {}

  AdamWOptions options_;
  ParameterStore& store_;
  std::string name_;
  std::vector<Buffer> buffers_;
  std::vector<Moments> moments_;
  std::vector<std::vector<AdamWSegment>> segments_;  // parallel to moments_
  std::vector<StatisticsPiece> pieces_;
};

}  // namespace hetero

#endif  // HETERO_OPTIM_MODULE_OPTIMIZER_H_
