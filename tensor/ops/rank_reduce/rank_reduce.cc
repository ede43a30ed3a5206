#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"

namespace hetero {
namespace {

absl::Status CheckLike(const ConstTensorView& view, const ConstTensorView& first) {
  if (view.dtype() != first.dtype() || !std::ranges::equal(view.dims(), first.dims()) ||
      !view.is_contiguous()) {
    return absl::InvalidArgumentError(absl::StrCat("rank_reduce operand is ", view.ToString(),
                                                   "; expected contiguous ", first.ToString()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RankReduce(std::span<const ConstTensorView> inputs,
                        std::span<const TensorView> outputs, ReduceOp op, Stream& stream) {
  if (inputs.empty()) return absl::InvalidArgumentError("rank_reduce needs an input");
  for (const ConstTensorView& input : inputs) HETERO_RETURN_IF_ERROR(CheckLike(input, inputs[0]));
  for (const TensorView& output : outputs) HETERO_RETURN_IF_ERROR(CheckLike(output, inputs[0]));
  const double elements = static_cast<double>(inputs[0].num_elements());
  OperationScope scope(stream, {"rank_reduce", elements * static_cast<double>(inputs.size() - 1),
                                static_cast<double>(inputs[0].num_bytes()) *
                                    static_cast<double>(inputs.size() + outputs.size())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::RankReduceCpu(inputs, outputs, op),
                         internal::RankReduceCuda(inputs, outputs, op, stream));
}

}  // namespace hetero
