#ifndef HETERO_MODELS_TESTING_PARALLEL_RIG_H_
#define HETERO_MODELS_TESTING_PARALLEL_RIG_H_

// Compares a module on the ranks of a grid, which are threads, with the same code on one rank, in
// f64 on the CPU: what it returns, the gradients of what it reads and of every parameter.
//
//   ExpectLikeOneRank({.num_ranks = 4, .tp = 2}, [](ParallelRig& rig) -> absl::Status {
//     ParameterStore& parameters = rig.MakeParameters(table);
//     ... make the module with rig.communicators() ...
//     for (const int64_t lane : rig.lanes()) {
//       const TensorView x = rig.OwnRows(rig.Normal("x", lane, kTokens, kHidden));
//       ... forward ...
//       rig.KeepRows("y", lane, y, kTokens);
//       TensorView d_y = rig.OwnRows(rig.Normal("d y", lane, kTokens, kHidden));
//       ... backward ...
//       rig.KeepGradientRows("d x", lane, d_x, kTokens);
//     }
//     return rig.KeepGradients(parameters);
//   });

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/token_shard.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/weight_gradient_queue.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/shard.h"
#include "hetero/params/table.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// What one rank works on, and what it leaves. A number that is drawn is a function of the seed, of
// its name and of the lane, whoever draws it. Views live as long as the rig. Arenas are full of
// NaN: what is read before it is written is seen. Failing to allocate aborts.
//
// A callback runs on shape-only devices too, where parameters, activations and workspace have no
// elements and nothing is kept.
class ParallelRig {
 public:
  struct Place {
    GlobalRank rank;
    ShardSpec shard;
    ModuleCommunicators communicators;
    std::vector<int64_t> lanes;  // one of the grid's; all of them on one rank alone
  };

  // `weight_gradients_later`: backward passes leave the weight gradients for KeepGradients.
  ParallelRig(Place place, Device device, uint64_t seed, bool weight_gradients_later);

  bool shape_only() const { return stream_.shape_only(); }
  ModuleContext& context() { return context_; }
  const ModuleCommunicators& communicators() const { return place_.communicators; }
  const ShardSpec& shard() const { return place_.shard; }
  GlobalRank rank() const { return place_.rank; }

  // Whose microbatches this rank works on, one after another.
  std::span<const int64_t> lanes() const { return place_.lanes; }

  TokenShard Shard(int64_t num_tokens) const {
    return {.num_tokens = num_tokens, .size = place_.shard.tp.size, .rank = place_.shard.tp.rank};
  }

  // This rank's part of the parameters. Matrices halve what they multiply, constants are random
  // around their value.
  ParameterStore& MakeParameters(const ParameterTable& table);

  // What a stage is made with.
  StageResources Resources(ParameterStore& parameters, int num_slots = 1);

  // Whatever is not normal: ids, sizes.
  std::mt19937_64 Generator(std::string_view name, int64_t lane) const;

  // Draws from N(0, 1), all rows.
  TensorView Normal(std::string_view name, int64_t lane, int64_t rows, int64_t columns);

  // A copy of this rank's rows, those behind the last token zero.
  TensorView OwnRows(const ConstTensorView& all_TC);

  // Memory of the caller's values.
  ConstTensorView Int32s(std::vector<int32_t> values);

  TensorView Zeros(DType dtype, int64_t elements);

  // Rows of equal length, each one sequence.
  SequenceBatch Sequences(int64_t num_rows, int64_t row_length);

  // What is compared. Names are distinct in a lane.

  // [R, C] of this rank's tokens; padding must be finite, of a gradient zero.
  void KeepRows(std::string_view name, int64_t lane, const ConstTensorView& own_RC,
                int64_t num_tokens);
  void KeepGradientRows(std::string_view name, int64_t lane, const ConstTensorView& own_RC,
                        int64_t num_tokens);
  // What all ranks of a lane have alike.
  void KeepSame(std::string_view name, int64_t lane, const ConstTensorView& view);
  // A part of what is summed over ranks and calls.
  void KeepPart(std::string_view name, const ConstTensorView& view);
  // Of every trainable parameter, at the end of the step.
  absl::Status KeepGradients(ParameterStore& parameters);

  struct Kept {
    enum class Kind : uint8_t { kRows, kGradientRows, kSame, kPart, kParameter };
    Kind kind = Kind::kRows;
    std::string name;
    int64_t lane = 0;
    TokenShard shard = {};    // of rows
    ParameterSpec spec = {};  // of a parameter's gradient
    std::vector<double> values = {};
  };
  const std::vector<Kept>& kept() const { return kept_; }

  // What a dry run predicts.
  struct Cost {
    int64_t activation_bytes = 0;
    int64_t workspace_bytes = 0;
    int64_t parameter_bytes = 0;
    std::map<std::string, double> flops = {};  // by operation, without those of communicators
  };
  Cost cost();

 private:
  void Keep(Kept kept, const ConstTensorView& view);

  Place place_;
  uint64_t seed_;
  MemoryLedger memory_;
  Arena activations_;
  Arena workspace_;
  Stream stream_;
  WeightGradientQueue weight_gradients_;
  ModuleContext context_;
  std::deque<std::vector<double>> doubles_;
  std::deque<std::vector<int32_t>> int32s_;
  std::deque<Buffer> buffers_;
  std::deque<std::unique_ptr<ParameterStore>> stores_;
  std::vector<Kept> kept_;
};

struct LikeOneRankOptions {
  bool weight_gradients_later = false;  // on the ranks of the grid
  bool selective_recompute = false;     // likewise
  // Of the difference, to the Euclidean norm of a tensor.
  double tolerance = 1e-12;
  // Whether what a dry run predicts of memory and operations is exact. It is not where the rows of
  // a rank depend on what a router chose.
  bool predictable = true;
  // Of these, operations; memory is bounded wherever rows go.
  bool predictable_operations = true;
};

// Adds a test failure for everything that differs from one rank, and where a rank has other memory
// or operations than a dry run predicts. `grid` has no pipeline and no context parallelism.
void ExpectLikeOneRank(const GridSpec& grid, const std::function<absl::Status(ParallelRig&)>& run,
                       const LikeOneRankOptions& options = {});

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_PARALLEL_RIG_H_
