#ifndef HETERO_PARAMS_INIT_H_
#define HETERO_PARAMS_INIT_H_

// Layout-independent initialisation: the value of an element is a function of (seed, parameter
// name, its index in the logical tensor), so any rank of any layout, on whatever device, fills its
// boxes with the bits a single rank would have. tensor/ops/initial_values is that function.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/shard.h"
#include "hetero/tensor/ops/initial_values/initial_values.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Fills the local tensor, of shape `shard.shape`, in the stream's memory.
// Errors: those of FillInitialValues, with the parameter's name.
absl::Status Initialize(const ParameterSpec& spec, const Shard& shard, uint64_t seed,
                        const TensorView& value, Stream& stream);

}  // namespace hetero

#endif  // HETERO_PARAMS_INIT_H_
