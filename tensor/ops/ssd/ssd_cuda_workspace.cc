#include <string_view>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/ssd_cuda.h"

namespace hetero::internal {
namespace {

int64_t NumChunks(const SsdInputs& inputs) {
  return inputs.sequences.num_rows *
         CeilDiv(inputs.sequences.row_length, inputs.shape.chunk_length);
}

absl::StatusOr<TensorView> AllocateStates(const SsdInputs& inputs, Arena& arena) {
  const DType dtype = inputs.x_TI.dtype();
  return arena.Allocate(
      dtype, SsdStatesDims(inputs.shape, inputs.x_TI.dim(0), inputs.sequences.row_length, dtype));
}

absl::Status AllocateSteps(const SsdInputs& inputs, Arena& arena, SsdCudaWorkspace& workspace) {
  const int64_t chunks = NumChunks(inputs);
  const int64_t tile = SsdTileOf(inputs.shape).chunk;
  HETERO_ASSIGN_OR_RETURN(
      workspace.steps,
      arena.Allocate(DType::kF32, {chunks, inputs.shape.num_heads, kNumSsdSteps, tile}));
  HETERO_ASSIGN_OR_RETURN(workspace.first, arena.Allocate(DType::kI32, {chunks, tile}));
  return absl::OkStatus();
}

}  // namespace

absl::Status ExpectSsdTile(const SsdShape& shape) {
  for (const auto& [name, value, largest] :
       {std::tuple<std::string_view, int64_t, int>{"chunk_length", shape.chunk_length,
                                                   kLargeSsdTile.chunk},
        {"head_dim", shape.head_dim, kLargeSsdTile.head_dim},
        {"state_size", shape.state_size, kLargeSsdTile.state_size}}) {
    if (value > largest) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is ", value, "; a GPU takes up to ", largest));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SsdCudaWorkspace> SsdCudaWorkspace::ForForward(const SsdInputs& inputs,
                                                              TensorView states, Arena& arena) {
  SsdCudaWorkspace workspace;
  HETERO_RETURN_IF_ERROR(AllocateSteps(inputs, arena, workspace));
  workspace.states = states;
  if (states.is_null()) {
    HETERO_ASSIGN_OR_RETURN(workspace.states, AllocateStates(inputs, arena));
  }
  return workspace;
}

absl::StatusOr<SsdCudaWorkspace> SsdCudaWorkspace::ForBackward(const SsdInputs& inputs,
                                                               Arena& arena) {
  const int64_t chunks = NumChunks(inputs);
  const int64_t heads = inputs.shape.num_heads;
  const SsdTile tile = SsdTileOf(inputs.shape);
  SsdCudaWorkspace workspace;
  HETERO_RETURN_IF_ERROR(AllocateSteps(inputs, arena, workspace));
  HETERO_ASSIGN_OR_RETURN(workspace.state_gradients, AllocateStates(inputs, arena));
  HETERO_ASSIGN_OR_RETURN(
      workspace.d_cb, arena.Allocate(inputs.x_TI.dtype(),
                                     {chunks, inputs.shape.num_groups, tile.chunk, tile.chunk}));
  HETERO_ASSIGN_OR_RETURN(
      workspace.token_sums,
      arena.Allocate(DType::kF32, {chunks, heads, kNumSsdTokenSums, tile.chunk}));
  HETERO_ASSIGN_OR_RETURN(workspace.state_sums,
                          arena.Allocate(DType::kF32, {chunks, heads, tile.num_state_parts()}));
  HETERO_ASSIGN_OR_RETURN(workspace.partials,
                          arena.Allocate(DType::kF32, {chunks, kNumSsdParameters * heads}));
  return workspace;
}

}  // namespace hetero::internal
