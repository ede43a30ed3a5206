#include "hetero/tensor/ops/audio/audio.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/audio_batch.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

struct Rows {
  int64_t in = 0;   // T
  int64_t out = 0;  // R
};

absl::StatusOr<Rows> CountRows(const TimeConvShape& shape) {
  if (shape.stride != 1 && shape.stride != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("stride is ", shape.stride, "; expected 1 or 2"));
  }
  Rows rows;
  for (size_t clip = 0; clip < shape.lengths.size(); ++clip) {
    const int64_t length = shape.lengths[clip];
    if (length < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("clip ", clip, " has ", length, " rows; expected at least 1"));
    }
    rows.in += length;
    rows.out += ConvolvedRows(length, shape.stride);
  }
  return rows;
}

absl::Status GatherTaps(const TimeConvShape& shape, const ConstTensorView& x_TC,
                        const TensorView& columns_RK, Stream& stream) {
  OperationScope scope(
      stream, {"audio.gather", 0, static_cast<double>(x_TC.num_bytes() + columns_RK.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GatherTapsCpu(shape, x_TC, columns_RK),
                         internal::GatherTapsCuda(shape, x_TC, columns_RK, stream));
}

absl::Status SumTaps(const TimeConvShape& shape, const ConstTensorView& columns_RK,
                     const TensorView& x_TC, Stream& stream) {
  OperationScope scope(stream, {"audio.sum_taps", static_cast<double>(columns_RK.num_elements()),
                                static_cast<double>(x_TC.num_bytes() + columns_RK.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SumTapsCpu(shape, columns_RK, x_TC),
                         internal::SumTapsCuda(shape, columns_RK, x_TC, stream));
}

}  // namespace

absl::Status TimeConvForward(const TimeConvShape& shape, const ConstTensorView& x_TC,
                             const ConstTensorView& weight_NK, const TensorView& y_RN,
                             Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const Rows rows, CountRows(shape));
  const DType dtype = x_TC.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("x_TC", x_TC, dtype, {rows.in, kAnyDim}));
  const int64_t taps = 3 * x_TC.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectDense("weight_NK", weight_NK, dtype, {kAnyDim, taps}));
  HETERO_RETURN_IF_ERROR(ExpectDense("y_RN", y_RN, dtype, {rows.out, weight_NK.dim(0)}));
  ArenaScope scratch(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView columns_RK,
                          stream.workspace().Allocate(dtype, {rows.out, taps}));
  HETERO_RETURN_IF_ERROR(GatherTaps(shape, x_TC, columns_RK, stream));
  return LinearForward(columns_RK, weight_NK, {}, y_RN, stream);
}

absl::Status TimeConvBackward(const TimeConvShape& shape, const TimeConvBackwardArgs& args,
                              Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const Rows rows, CountRows(shape));
  const DType dtype = args.x_TC.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("x_TC", args.x_TC, dtype, {rows.in, kAnyDim}));
  const int64_t channels = args.x_TC.dim(1), taps = 3 * channels;
  HETERO_RETURN_IF_ERROR(ExpectDense("weight_NK", args.weight_NK, dtype, {kAnyDim, taps}));
  const int64_t outputs = args.weight_NK.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectDense("dy_RN", args.dy_RN, dtype, {rows.out, outputs}));
  ArenaScope scratch(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView columns_RK,
                          stream.workspace().Allocate(dtype, {rows.out, taps}));
  if (!args.d_weight_NK.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("d_weight_NK", args.d_weight_NK, ComputeDType(dtype), {outputs, taps}));
    HETERO_RETURN_IF_ERROR(GatherTaps(shape, args.x_TC, columns_RK, stream));
    HETERO_RETURN_IF_ERROR(
        LinearBackwardWeight(args.dy_RN, columns_RK, args.d_weight_NK, args.accumulate, stream));
  }
  if (args.d_x_TC.is_null()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(ExpectDense("d_x_TC", args.d_x_TC, dtype, {rows.in, channels}));
  HETERO_RETURN_IF_ERROR(LinearBackwardInput(args.dy_RN, args.weight_NK, columns_RK,
                                             /*accumulate=*/false, stream));
  return SumTaps(shape, columns_RK, args.d_x_TC, stream);
}

absl::Status AddSinusoids(std::span<const int32_t> lengths, const ConstTensorView& x_TC,
                          const TensorView& out_TC, Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const Rows rows, CountRows({.lengths = lengths}));
  const DType dtype = x_TC.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("x_TC", x_TC, dtype, {rows.in, kAnyDim}));
  const int64_t channels = x_TC.dim(1);
  if (channels < 4 || channels % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("x_TC has ", channels, " channels; expected an even number of at least 4"));
  }
  HETERO_RETURN_IF_ERROR(ExpectDense("out_TC", out_TC, dtype, {rows.in, channels}));
  ArenaScope scratch(stream.workspace());
  TensorView turns_per_row;
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(turns_per_row,
                            stream.workspace().Allocate(DType::kF64, {channels / 2}));
  }
  OperationScope scope(stream, {"audio.add_sinusoids", static_cast<double>(x_TC.num_elements()),
                                static_cast<double>(x_TC.num_bytes() + out_TC.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::AddSinusoidsCpu(lengths, x_TC, turns_per_row, out_TC),
                         internal::AddSinusoidsCuda(lengths, x_TC, out_TC, stream));
}

}  // namespace hetero
