#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"

namespace hetero::internal {
namespace {

// Small enough to stay in the first-level cache beside one block of an input.
constexpr int64_t kBlockBytes = 8 << 10;

template <ReduceOp kOp, typename T>
HETERO_CPU_KERNEL T Combine(T a, T b) {
  if constexpr (kOp == ReduceOp::kSum) {
    return a + b;
  } else if constexpr (kOp == ReduceOp::kMax) {
    return a >= b || a != a ? a : b;
  } else {
    return a <= b || a != a ? a : b;
  }
}

template <ReduceOp kOp, typename T>
HETERO_CPU_KERNEL void Combine2(const T* a, const T* b, T* out, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = Combine<kOp, T>(a[i], b[i]);
}

template <ReduceOp kOp, typename T>
void Reduce(std::span<const ConstTensorView> inputs, std::span<const TensorView> outputs) {
  constexpr int64_t kBlock = kBlockBytes / sizeof(T);
  alignas(64) T sum[kBlock];
  const int64_t num_elements = inputs[0].num_elements();
  for (int64_t begin = 0; begin < num_elements; begin += kBlock) {
    const int64_t n = std::min(kBlock, num_elements - begin);
    const T* block = inputs[0].data<T>() + begin;
    for (size_t i = 1; i < inputs.size(); ++i) {
      cpu::RunKernel<Combine2<kOp, T>>(block, inputs[i].data<T>() + begin, sum, n);
      block = sum;
    }
    for (const TensorView& output : outputs) {
      if (output.data<T>() + begin != block) {
        std::memcpy(output.data<T>() + begin, block, static_cast<size_t>(n) * sizeof(T));
      }
    }
  }
}

template <typename T>
absl::Status Dispatch(std::span<const ConstTensorView> inputs, std::span<const TensorView> outputs,
                      ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      Reduce<ReduceOp::kSum, T>(inputs, outputs);
      break;
    case ReduceOp::kMax:
      Reduce<ReduceOp::kMax, T>(inputs, outputs);
      break;
    case ReduceOp::kMin:
      Reduce<ReduceOp::kMin, T>(inputs, outputs);
      break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RankReduceCpu(std::span<const ConstTensorView> inputs,
                           std::span<const TensorView> outputs, ReduceOp op) {
  switch (inputs[0].dtype()) {
    case DType::kF64:
      return Dispatch<double>(inputs, outputs, op);
    case DType::kF32:
      return Dispatch<float>(inputs, outputs, op);
    case DType::kI32:
      return Dispatch<int32_t>(inputs, outputs, op);
    case DType::kI64:
      return Dispatch<int64_t>(inputs, outputs, op);
    case DType::kBF16:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the cpu reduces f64, f32, i32 and i64, not ", Name(inputs[0].dtype())));
}

}  // namespace hetero::internal
