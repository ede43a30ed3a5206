#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/hopper_device.h"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"

namespace hetero::internal {

absl::StatusOr<bool> SuitsHopperSsd(const SsdInputs& inputs,
                                    std::initializer_list<ConstTensorView> others, Stream& stream) {
  const SsdShape& shape = inputs.shape;
  constexpr SsdTile tile = kLargeSsdTile;
  constexpr int kWidth = cuda::kFullWidth<__nv_bfloat16>;
  if (inputs.x_TI.dtype() != DType::kBF16 || shape.chunk_length != tile.chunk ||
      shape.head_dim != tile.head_dim || shape.state_size != tile.state_size) {
    return false;
  }
  if (!cuda::AllowVectors({inputs.x_TI, inputs.b_TS, inputs.c_TS}, kWidth)) return false;
  for (const ConstTensorView& view : others) {
    if (!cuda::AllowVectors({view}, kWidth)) return false;
  }
  return HasHopperTensorCores(stream);
}

}  // namespace hetero::internal
