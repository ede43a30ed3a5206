#ifndef HETERO_CKPT_TESTING_F0_H_
#define HETERO_CKPT_TESTING_F0_H_

#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

// w f32 [4,8], b bf16 [5] and an object.
struct F0 {
  WholeTensor w{"w", DType::kF32, {4, 8}};
  WholeTensor b{"b", DType::kBF16, {5}};
  CheckpointState state{
      .tensors = {w.tensor(), b.tensor()},
      .objects = {{.name = ObjectName("obj").value(), .value = {{"seed", 1}, {"list", {1, 2}}}}}};

  F0() { FillPattern(state.tensors); }
};

}  // namespace hetero

#endif  // HETERO_CKPT_TESTING_F0_H_
