#ifndef HETERO_PARAMS_STATE_TENSOR_H_
#define HETERO_PARAMS_STATE_TENSOR_H_

// What a rank holds of a tensor that outlives the run, as a value: stores and optimizers list
// theirs, and whoever saves, loads or moves state to another layout asks for nothing else.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/params/bucket_plan.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/shard.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct StateTensor {
  std::string name;             // "exp_avg.decoder.layers.0.norm.weight"
  std::vector<int64_t> shape;   // of the whole model
  std::vector<ShardBox> boxes;  // what of it lies where in `local`
  // Number of this rank among those that hold all of this alike, data-parallel ranks; replicas on
  // other axes are the boxes'.
  int64_t replica = 0;
  TensorView local;
  bool constant = false;  // nothing trains it: it stays what it was at the start
};

// Of `range` of a parameter's local tensor in row-major order, which lies one element after another
// in `flat`: tensors of as many dims as the parameter that cover it once, in that order. Those of
// no element are left out.
std::vector<StateTensor> FlatStates(std::string_view name, const ParameterSpec& spec,
                                    const Shard& shard, const ElementRange& range,
                                    const TensorView& flat);

}  // namespace hetero

#endif  // HETERO_PARAMS_STATE_TENSOR_H_
