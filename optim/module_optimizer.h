#ifndef HETERO_OPTIM_MODULE_OPTIMIZER_H_
#define HETERO_OPTIM_MODULE_OPTIMIZER_H_

// The part of the optimizer that belongs to one module on one rank: the moments of what the rank
// owns of its parameters, its share of the gradient statistics and the update. Data-parallel ranks
// own shares of every bucket (BucketPlan), so that together they hold the state once. A module
// without trainable parameters has none of them and contributes zeros. Parameters stored in bf16
// have f32 masters here, which are what is updated; others are their own.

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
#include "hetero/params/state_tensor.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// One update: what the host knows of it, and what the device decides.
struct AdamWUpdate {
  int64_t step = 1;           // of applied updates, from 1, this one included
  double learning_rate = 0;   // before the module's scale
  double weight_decay = 0;    // of modules that follow the run's schedule
  ConstTensorView decisions;  // of DecideUpdate, this module's
};

// Adam's state for what a rank owns of one FlatGroup of the store: its share of each bucket, bucket
// after bucket.
struct Moments {
  TensorView first;  // compute type
  TensorView second;
  TensorView master;  // null where the values are their own
};

// How the parameters of a module are shared on `grid`, as the rank's store and optimizer need it.
// Precondition: `rank` is in `grid`.
StoreSharing SharingOf(const Grid& grid, GlobalRank rank, const BucketOptions& buckets = {});

class ModuleOptimizer {
 public:
  // Allocates zero moments and masters (label optimizer). `store` and `ledger` outlive the
  // optimizer. Precondition: `rank` is in `grid`, and the store was made with SharingOf both.
  // Errors: those of Buffer::Allocate.
  static absl::StatusOr<std::unique_ptr<ModuleOptimizer>> Create(
      const ModuleOptimizerOptions& options, ParameterStore& store, const Grid& grid,
      GlobalRank rank, Device device, MemoryLedger& ledger);

  const std::string& name() const { return name_; }
  const ModuleOptimizerOptions& options() const { return options_; }

  // Nothing to train on this rank.
  bool frozen() const { return moments_.empty(); }

  // Says which place of AddStatistics's non_finite_P each parameter has, by name. Until then these
  // are the places among all trained parameters of the store.
  // Errors: INVALID_ARGUMENT naming the parameter that is missing.
  absl::Status NumberParameters(std::span<const std::string> names);

  // Makes the masters what the values are: after these were initialised or loaded.
  absl::Status LoadMasters(Stream& stream);

  // Adds this rank's share, of which each element of the module is in one rank's, to the first two
  // of ModuleStatistic and to the elements of each parameter that are not finite.
  absl::Status AddStatistics(TensorView totals_2, TensorView non_finite_P, Stream& stream);

  // The same of the parameters themselves, or of their masters.
  absl::Status AddParameterStatistics(TensorView totals_2, TensorView non_finite_P, Stream& stream);

  // Updates what this rank owns of the parameters, and its moments, if the update applies.
  absl::Status Apply(const AdamWUpdate& update, Stream& stream);

  // All that lasts here: "param", "exp_avg" and "exp_avg_sq" with the parameter's name behind a
  // dot, of compute type. "param" is the master, or the value where it is its own.
  std::vector<StateTensor> States() const;

  // Parallel to store().groups().
  std::span<const Moments> moments() const { return moments_; }
  ParameterStore& store() { return store_; }

 private:
  // What this rank owns of a bucket: where it lies in the flat buffers and in Moments.
  struct Piece {
    ElementRange flat;
    ElementRange own;
    std::vector<AdamWSegment> segments = {};  // counted from the begin of the piece
  };

  ModuleOptimizer(const ModuleOptimizerOptions& options, ParameterStore& store, std::string name)
      : options_(options), store_(store), name_(std::move(name)) {}

  void AddPieces(const FlatGroup& group, int64_t share);

  ModuleOptimizerOptions options_;
  ParameterStore& store_;
  std::string name_;
  std::vector<Buffer> buffers_;
  std::vector<Moments> moments_;
  std::vector<std::vector<Piece>> pieces_;  // parallel to moments_
  // Likewise: of gradients and values, and where the same elements lie in the masters.
  std::vector<std::vector<StatisticsRange>> statistics_;
  std::vector<std::vector<StatisticsRange>> master_statistics_;
  std::vector<AdamWSegment> segments_;  // of the piece that is updated
};

}  // namespace hetero

#endif  // HETERO_OPTIM_MODULE_OPTIMIZER_H_
