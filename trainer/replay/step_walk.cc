#include "hetero/trainer/replay/step_walk.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "hetero/base/status.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

template <typename T>
bool AllFinite(std::span<const T> values) {
  return std::ranges::all_of(values, [](T value) {
    return std::isfinite(static_cast<double>(static_cast<float>(value)));
  });
}

bool AllFinite(const ConstTensorView& host) {
  switch (host.dtype()) {
    case DType::kF64:
      return std::ranges::all_of(host.values<double>(),
                                 [](double value) { return std::isfinite(value); });
    case DType::kBF16:
      return AllFinite(host.values<BFloat16>());
    default:
      return AllFinite(host.values<float>());
  }
}

}  // namespace

absl::Status StepWalk::Look(bool backward, int layer, const ConstTensorView& values,
                            Stream& stream) {
  if (first_.has_value() || values.is_null() || values.num_elements() == 0) {
    return absl::OkStatus();
  }
  std::vector<std::byte> bytes(values.num_elements() * SizeOf(values.dtype()));
  const TensorView host(bytes.data(), values.dtype(), values.dims());
  HETERO_RETURN_IF_ERROR(CopyToHost(values, host, stream));
  HETERO_RETURN_IF_ERROR(stream.Synchronize());
  if (AllFinite(host)) return absl::OkStatus();
  first_ = {.backward = backward, .stage = op_.stage, .microbatch = op_.microbatch, .layer = layer};
  return absl::OkStatus();
}

absl::Status StepWalk::Output(ConstTensorView output, Stream& stream) {
  // A backward computes some layers anew.
  if (op_.kind != OpKind::kForward) return absl::OkStatus();
  return Look(/*backward=*/false, layer_, output, stream);
}

absl::Status StepWalk::Gradient(int layer, ConstTensorView gradient, Stream& stream) {
  return Look(/*backward=*/true, layer, gradient, stream);
}

absl::Status StepWalk::After(const Op& op, Stage& stage, ConstTensorView output, Stream& stream) {
  if (op.kind != OpKind::kForward) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(Look(/*backward=*/false, kLastLayer, output, stream));
  return TakeTotals(op.microbatch, stage, stream);
}

absl::Status StepWalk::TakeTotals(int microbatch, Stage& stage, Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const Buffer buffer,
                          Buffer::Allocate(stream.device(), MemoryLabel::kWorkspace,
                                           num_totals_ * SizeOf(DType::kF64), ledger_));
  const TensorView taken = buffer.View(DType::kF64, {num_totals_});
  HETERO_RETURN_IF_ERROR(Fill(0, taken, stream));
  HETERO_RETURN_IF_ERROR(stage.TakeTotals(taken, stream));
  std::vector<double> values(num_totals_);
  HETERO_RETURN_IF_ERROR(
      CopyToHost(taken, TensorView(values.data(), DType::kF64, {num_totals_}), stream));
  HETERO_RETURN_IF_ERROR(stream.Synchronize());
  std::vector<double>& sums = totals_[microbatch];
  sums.resize(num_totals_);
  std::ranges::transform(sums, values, sums.begin(), [](double a, double b) { return a + b; });
  return absl::OkStatus();
}

}  // namespace hetero
