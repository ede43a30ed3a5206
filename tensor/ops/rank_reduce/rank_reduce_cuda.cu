#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxRanks = 128;  // pointers of a launch, by value

struct Operands {
  int num_inputs, num_outputs;
  const void* inputs[kMaxRanks];
  void* outputs[kMaxRanks];
};

// What elements are combined in.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, __nv_bfloat16>, float, T>;

template <ReduceOp kOp, typename W>
__device__ W Combine(W a, W b) {
  if constexpr (kOp == ReduceOp::kSum) {
    return a + b;
  } else if constexpr (kOp == ReduceOp::kMax) {
    return a >= b || a != a ? a : b;
  } else {
    return a <= b || a != a ? a : b;
  }
}

template <ReduceOp kOp, typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void RankReduceKernel(const __grid_constant__ Operands op,
                                                             int64_t num_vectors) {
  using V = cuda::Vector<T, kWidth>;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= num_vectors) return;
  const auto load = [&](int input) { return static_cast<const V*>(op.inputs[input])[i]; };
  const V first = load(0);
  Wide<T> result[kWidth];
#pragma unroll
  for (int j = 0; j < kWidth; ++j) result[j] = static_cast<Wide<T>>(first.values[j]);
#pragma unroll 4
  for (int input = 1; input < op.num_inputs; ++input) {
    const V next = load(input);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      result[j] = Combine<kOp>(result[j], static_cast<Wide<T>>(next.values[j]));
    }
  }
  V rounded;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) rounded.values[j] = static_cast<T>(result[j]);
  for (int output = 0; output < op.num_outputs; ++output) {
    static_cast<V*>(op.outputs[output])[i] = rounded;
  }
}

template <ReduceOp kOp, typename T>
absl::Status Reduce(const Operands& op, int64_t num_elements, bool aligned, Stream& stream) {
  const auto launch = [&]<int kWidth>() {
    const int64_t num_vectors = num_elements / kWidth;
    const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(num_vectors, kThreads),
                                     .block = kThreads};
    return HETERO_CUDA_LAUNCH((RankReduceKernel<kOp, T, kWidth>), shape, stream, op, num_vectors);
  };
  constexpr int kWidth = cuda::kFullWidth<T>;
  return aligned && num_elements % kWidth == 0 ? launch.template operator()<kWidth>()
                                               : launch.template operator()<1>();
}

template <ReduceOp kOp>
absl::Status Dispatch(DType dtype, const Operands& op, int64_t num_elements, bool aligned,
                      Stream& stream) {
  switch (dtype) {
    case DType::kF64:
      return Reduce<kOp, double>(op, num_elements, aligned, stream);
    case DType::kF32:
      return Reduce<kOp, float>(op, num_elements, aligned, stream);
    case DType::kBF16:
      return Reduce<kOp, __nv_bfloat16>(op, num_elements, aligned, stream);
    case DType::kI32:
      return Reduce<kOp, int32_t>(op, num_elements, aligned, stream);
    default:
      return Reduce<kOp, int64_t>(op, num_elements, aligned, stream);
  }
}

}  // namespace

absl::Status RankReduceCuda(std::span<const ConstTensorView> inputs,
                            std::span<const TensorView> outputs, ReduceOp op, Stream& stream) {
  if (std::max(inputs.size(), outputs.size()) > kMaxRanks) {
    return absl::InvalidArgumentError(absl::StrCat("rank_reduce of ", inputs.size(), " inputs to ",
                                                   outputs.size(), " outputs; a GPU takes up to ",
                                                   kMaxRanks, " of each"));
  }
  Operands operands = {.num_inputs = static_cast<int>(inputs.size()),
                       .num_outputs = static_cast<int>(outputs.size())};
  bool aligned = true;
  const auto address = [&](auto& view) {
    aligned = aligned && reinterpret_cast<uintptr_t>(view.address()) % 16 == 0;
    return view.address();
  };
  std::ranges::transform(inputs, operands.inputs, address);
  std::ranges::transform(outputs, operands.outputs, address);
  const DType dtype = inputs[0].dtype();
  const int64_t num_elements = inputs[0].num_elements();
  switch (op) {
    case ReduceOp::kSum:
      return Dispatch<ReduceOp::kSum>(dtype, operands, num_elements, aligned, stream);
    case ReduceOp::kMax:
      return Dispatch<ReduceOp::kMax>(dtype, operands, num_elements, aligned, stream);
    default:
      return Dispatch<ReduceOp::kMin>(dtype, operands, num_elements, aligned, stream);
  }
}

}  // namespace hetero::internal
