#include "hetero/tensor/ops/ssd/ssd.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/ssd/ssd_cpu.h"
#include "hetero/tensor/ops/ssd/ssd_cuda.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

absl::Status Validate(const SsdShape& shape) {
  for (const auto& [name, value] :
       {std::pair<std::string_view, int64_t>{"num_heads", shape.num_heads},
        {"head_dim", shape.head_dim},
        {"num_groups", shape.num_groups},
        {"state_size", shape.state_size},
        {"chunk_length", shape.chunk_length}}) {
    if (value < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is ", value, "; expected a positive number"));
    }
  }
  if (shape.num_heads % shape.num_groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_groups is ", shape.num_groups,
                                                   "; expected a divisor of the ", shape.num_heads,
                                                   " heads"));
  }
  return absl::OkStatus();
}

absl::Status Validate(const SsdInputs& inputs, const Device& device) {
  const SsdShape& shape = inputs.shape;
  HETERO_RETURN_IF_ERROR(Validate(shape));
  if (!(inputs.steps.min >= 0 && inputs.steps.min <= inputs.steps.max)) {
    return absl::InvalidArgumentError(absl::StrCat("steps are limited to ", inputs.steps.min,
                                                   " to ", inputs.steps.max,
                                                   "; expected ascending limits from 0 on"));
  }
  if (device.IsCuda()) {
    HETERO_RETURN_IF_ERROR(internal::ExpectSsdTile(shape));
  }
  HETERO_RETURN_IF_ERROR(
      ExpectShape("x", inputs.x_TI, {kAnyDim, shape.num_heads * shape.head_dim}));
  const int64_t tokens = inputs.x_TI.dim(0);
  const DType dtype = inputs.x_TI.dtype();
  const int64_t state_width = shape.num_groups * shape.state_size;
  HETERO_RETURN_IF_ERROR(ExpectMatrix("b", inputs.b_TS, dtype, tokens, state_width));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("c", inputs.c_TS, dtype, tokens, state_width));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("dt_raw", inputs.dt_raw_TH, dtype, tokens, shape.num_heads));
  HETERO_RETURN_IF_ERROR(ExpectDense("dt_bias", inputs.dt_bias_H, dtype, {shape.num_heads}));
  HETERO_RETURN_IF_ERROR(ExpectDense("a_log", inputs.a_log_H, dtype, {shape.num_heads}));
  HETERO_RETURN_IF_ERROR(ExpectDense("skip", inputs.skip_H, dtype, {shape.num_heads}));
  return Validate(inputs.sequences, tokens);
}

absl::Status ExpectStates(const SsdInputs& inputs, const ConstTensorView& states) {
  const DType dtype = inputs.x_TI.dtype();
  const auto dims =
      SsdStatesDims(inputs.shape, inputs.x_TI.dim(0), inputs.sequences.row_length, dtype);
  return ExpectDense("states", states, dtype, {dims[0], dims[1], dims[2], dims[3]});
}

absl::Status Validate(const SsdGradients& gradients, const SsdInputs& inputs) {
  const DType dtype = inputs.x_TI.dtype();
  const int64_t tokens = inputs.x_TI.dim(0);
  const int64_t state_width = inputs.b_TS.dim(1);
  const int64_t heads = inputs.shape.num_heads;
  HETERO_RETURN_IF_ERROR(ExpectMatrix("d_x", gradients.d_x_TI, dtype, tokens, inputs.x_TI.dim(1)));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("d_b", gradients.d_b_TS, dtype, tokens, state_width));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("d_c", gradients.d_c_TS, dtype, tokens, state_width));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("d_dt_raw", gradients.d_dt_raw_TH, dtype, tokens, heads));
  for (const auto& [name, view] :
       {std::pair<std::string_view, ConstTensorView>{"d_dt_bias", gradients.d_dt_bias_H},
        {"d_a_log", gradients.d_a_log_H},
        {"d_skip", gradients.d_skip_H}}) {
    if (view.is_null()) continue;
    HETERO_RETURN_IF_ERROR(ExpectDense(name, view, ComputeDType(dtype), {heads}));
  }
  return absl::OkStatus();
}

// Multiply-adds of the chunked form count two, triangles as half squares.
struct ScanFlops {
  explicit ScanFlops(const SsdInputs& inputs)
      : tokens(static_cast<double>(inputs.x_TI.dim(0))),
        per_state(2.0 * inputs.x_TI.dim(1) * inputs.shape.state_size),
        per_triangle(1.0 * inputs.x_TI.dim(1) * inputs.shape.chunk_length),
        per_group_triangle(1.0 * inputs.b_TS.dim(1) * inputs.shape.chunk_length) {}

  double Forward() const { return tokens * (2 * per_state + per_triangle + per_group_triangle); }
  double Backward() const {
    return tokens * (4 * per_state + 2 * per_triangle + 3 * per_group_triangle);
  }

  double tokens, per_state, per_triangle, per_group_triangle;
};

double ActivationBytes(const SsdInputs& inputs) {
  return static_cast<double>(inputs.x_TI.num_bytes() + inputs.b_TS.num_bytes() +
                             inputs.c_TS.num_bytes() + inputs.dt_raw_TH.num_bytes());
}

}  // namespace

std::array<int64_t, 4> SsdStatesDims(const SsdShape& shape, int64_t num_tokens, int64_t row_length,
                                     DType dtype) {
  const int64_t chunks_per_row = CeilDiv(row_length, shape.chunk_length);
  const int64_t padded_head_dim = ComputeDType(dtype) == DType::kF64
                                      ? cpu::PadToVector<double>(shape.head_dim)
                                      : cpu::PadToVector<float>(shape.head_dim);
  // The first chunk of a row starts from zero.
  return {num_tokens / row_length * (chunks_per_row - 1), shape.num_heads, shape.state_size,
          padded_head_dim};
}

absl::Status SsdForward(const SsdInputs& inputs, TensorView y_TI, TensorView states,
                        Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(inputs, stream.device())).With("ssd.forward");
  const DType dtype = inputs.x_TI.dtype();
  HETERO_RETURN_IF_ERROR(ExpectMatrix("y", y_TI, dtype, inputs.x_TI.dim(0), inputs.x_TI.dim(1)))
      .With("ssd.forward");
  if (!states.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectStates(inputs, states)).With("ssd.forward");
  }
  Arena& arena = stream.workspace();
  ArenaScope scope_of_scratch(arena);
  TensorView scratch;
  internal::SsdCudaWorkspace workspace;
  if (stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(workspace,
                            internal::SsdCudaWorkspace::ForForward(inputs, states, arena));
  } else {
    HETERO_ASSIGN_OR_RETURN(
        scratch, arena.Allocate(ComputeDType(dtype),
                                {internal::SsdForwardScratchElements(inputs.shape, dtype)}));
  }
  OperationScope scope(stream, {"ssd.forward", ScanFlops(inputs).Forward(),
                                ActivationBytes(inputs) + y_TI.num_bytes() + states.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SsdForwardCpu(inputs, y_TI, states, scratch),
                         internal::SsdForwardCuda(inputs, y_TI, workspace, stream));
}

absl::Status SsdBackward(const SsdInputs& inputs, ConstTensorView states, ConstTensorView d_y_TI,
                         const SsdGradients& gradients, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(inputs, stream.device())).With("ssd.backward");
  const DType dtype = inputs.x_TI.dtype();
  HETERO_RETURN_IF_ERROR(ExpectStates(inputs, states)).With("ssd.backward");
  HETERO_RETURN_IF_ERROR(ExpectMatrix("d_y", d_y_TI, dtype, inputs.x_TI.dim(0), inputs.x_TI.dim(1)))
      .With("ssd.backward");
  HETERO_RETURN_IF_ERROR(Validate(gradients, inputs)).With("ssd.backward");
  Arena& arena = stream.workspace();
  ArenaScope scope_of_scratch(arena);
  TensorView scratch;
  internal::SsdCudaWorkspace workspace;
  if (stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(workspace, internal::SsdCudaWorkspace::ForBackward(inputs, arena));
  } else {
    HETERO_ASSIGN_OR_RETURN(
        scratch, arena.Allocate(ComputeDType(dtype),
                                {internal::SsdBackwardScratchElements(inputs.shape, dtype)}));
  }
  OperationScope scope(stream,
                       {"ssd.backward", ScanFlops(inputs).Backward(),
                        2 * ActivationBytes(inputs) + d_y_TI.num_bytes() + states.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream, internal::SsdBackwardCpu(inputs, states, d_y_TI, gradients, scratch),
      internal::SsdBackwardCuda(inputs, states, d_y_TI, gradients, workspace, stream));
}

}  // namespace hetero
