#ifndef HETERO_PARAMS_PARAMETER_SPEC_H_
#define HETERO_PARAMS_PARAMETER_SPEC_H_

// What there is to know about one parameter or buffer without having it: the row of the table that
// initialisation, sharding, optimizer groups, checkpoints and import all read.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/tensor/dtype.h"
#include "hetero/tensor/ops/initial_values/initial_values.h"

namespace hetero {

enum class ShardAxis : uint8_t { kNone, kTp, kEp, kExptTp };

std::string_view ShardAxisName(ShardAxis axis);

// How one dim of the logical tensor is divided among the n shards of an axis. The dim is `units`
// repetitions of the same blocks. The axis divides the units first: n <= units shards take equal
// runs of them, so n divides units. Of n > units shards, which units divides, r = n / units share
// one unit and cut every block of it by itself: each holds its slice of the first block, then of
// the second, and so on. A `whole` block is not cut: all r hold it.
//
//   z|x|B|C|dt of a Mamba input projection   one unit, five blocks
//   q|k|v rows of each KV group              a unit per group, k and v whole
//
// Slices are equal, or, with `tile`, multiples of it, of which the last shards have fewer and less
// than one: what is missing to equal slices is nowhere, so that no layout has elements that
// another has not.
struct DimSharding {
  struct Block {
    int64_t size = 0;
    bool whole = false;
  };

  ShardAxis axis = ShardAxis::kNone;
  std::vector<Block> blocks = {};  // of one unit, in order; empty: one block, cut
  int64_t units = 1;
  int64_t tile = 0;  // 0: slices are equal
};

enum class GradientGroup : uint8_t { kDense, kExpert };

inline constexpr int kLastLayer = std::numeric_limits<int>::max();

struct ParameterSpec {
  std::string name;            // canonical, with the global layer index
  std::vector<int64_t> shape;  // logical: of the whole model
  bool is_buffer = false;      // saved but not trained (router expert bias)
  DType storage = DType::kF32;
  Init init;
  std::vector<DimSharding> dims;  // one per dim; empty: replicated
  GradientGroup gradient_group = GradientGroup::kDense;
  // Under sequence parallelism each tensor-parallel rank has a part of the gradient (norm weights,
  // router): the parts are summed once a step.
  bool partial_over_tp = false;
  bool decay = true;
  bool trainable = true;
  int stage = 0;  // pipeline stage that owns it
  // Of those that the stage runs one after another, ascending; kLastLayer: behind all others.
  int layer = 0;
  double active_share = 1;  // of the tokens, those that use it: of experts top_k / num_experts

  int64_t num_elements() const;
};

// A rank's place in the axes that divide parameters, and the sizes of those axes.
struct ShardSpec {
  struct Axis {
    int64_t rank = 0;
    int64_t size = 1;
  };
  Axis tp;
  Axis ep;
  Axis expt_tp;
  Axis pp;

  Axis axis(ShardAxis which) const;
};

}  // namespace hetero

#endif  // HETERO_PARAMS_PARAMETER_SPEC_H_
