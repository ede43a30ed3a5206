#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/row_shape.h"

namespace hetero::internal {
namespace {

template <typename T>
HETERO_CPU_KERNEL void AddRow(const T* a, const T* b, T* out, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

template <typename From, typename To>
HETERO_CPU_KERNEL void ConvertRow(const From* source, To* destination, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<From, BFloat16> || std::is_same_v<To, BFloat16>) {
      destination[i] = static_cast<To>(static_cast<float>(source[i]));
    } else {
      destination[i] = static_cast<To>(source[i]);
    }
  }
}

template <typename Function>
void VisitAny(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kF64:
      return function.template operator()<double>();
    case DType::kF32:
      return function.template operator()<float>();
    case DType::kBF16:
      return function.template operator()<BFloat16>();
    case DType::kI32:
      return function.template operator()<int32_t>();
    case DType::kI64:
      return function.template operator()<int64_t>();
  }
}

}  // namespace

absl::Status AddCpu(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out) {
  const RowShape shape{a, b, out};
  return VisitFloat(a.dtype(), [&]<typename T>() {
    for (int64_t r = 0; r < shape.rows; ++r) {
      cpu::RunKernel<AddRow<T>>(a.data<T>() + r * a.stride(0), b.data<T>() + r * b.stride(0),
                                out.data<T>() + r * out.stride(0), shape.columns);
    }
  });
}

absl::Status FillCpu(double value, const TensorView& x) {
  const RowShape shape{x};
  VisitAny(x.dtype(), [&]<typename T>() {
    const T element = [&] {
      if constexpr (std::is_same_v<T, BFloat16>) {
        return T(static_cast<float>(value));
      } else {
        return static_cast<T>(value);
      }
    }();
    for (int64_t r = 0; r < shape.rows; ++r) {
      std::fill_n(x.data<T>() + r * x.stride(0), shape.columns, element);
    }
  });
  return absl::OkStatus();
}

absl::Status CopyCpu(const ConstTensorView& source, const TensorView& destination) {
  const RowShape shape{source, destination};
  if (source.dtype() == destination.dtype()) {
    const int64_t size = SizeOf(source.dtype());
    for (int64_t r = 0; r < shape.rows; ++r) {
      std::memmove(static_cast<char*>(destination.address()) + r * destination.stride(0) * size,
                   static_cast<const char*>(source.address()) + r * source.stride(0) * size,
                   shape.columns * size);
    }
    return absl::OkStatus();
  }
  VisitAny(source.dtype(), [&]<typename From>() {
    VisitAny(destination.dtype(), [&]<typename To>() {
      constexpr bool kCounts = std::is_same_v<From, int64_t> && std::is_same_v<To, double>;
      if constexpr (kCounts || (IsFloating(kDTypeOf<From>) && IsFloating(kDTypeOf<To>))) {
        for (int64_t r = 0; r < shape.rows; ++r) {
          cpu::RunKernel<ConvertRow<From, To>>(source.data<From>() + r * source.stride(0),
                                               destination.data<To>() + r * destination.stride(0),
                                               shape.columns);
        }
      }
    });
  });
  return absl::OkStatus();
}

}  // namespace hetero::internal
