#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/row_shape.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;

// What an element is computed in.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, __nv_bfloat16>, float, T>;

template <typename T>
__device__ Wide<T> Widen(T x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return cuda::ToFloat(x);
  } else {
    return x;
  }
}

template <typename T, typename From>
__device__ T Narrow(From x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return cuda::FromFloat<T>(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

struct AddFunction {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
template <typename T>
struct FillFunction {
  T value;
  __device__ Wide<T> operator()() const { return Widen(value); }
};
struct CopyFunction {
  template <typename T>
  __device__ T operator()(T x) const {
    return x;
  }
};

template <typename T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;
};

// out[r, c] = function(inputs[r, c]...), a vector of kWidth elements at a time, vectors counted row
// by row. A thread first loads all it will need: memory latency is what there is to hide.
template <int kWidth, int kInputs, typename In, typename Out, typename Function>
__global__ __launch_bounds__(kThreads) void MapKernel(Function function, Rows<const In> a,
                                                      Rows<const In> b, Rows<Out> out,
                                                      int64_t vectors_per_row,
                                                      int64_t num_vectors) {
  constexpr int kUnroll = 4;
  const int64_t first = int64_t{blockIdx.x} * (kThreads * kUnroll) + threadIdx.x;
  cuda::Vector<In, kWidth> loaded[2][kUnroll];
  const auto at = [&](const auto& rows, int64_t i) {
    const int64_t row = vectors_per_row == num_vectors ? 0 : i / vectors_per_row;
    return rows.data + row * rows.stride + (i - row * vectors_per_row) * kWidth;
  };
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = first + u * kThreads;
    if (i < num_vectors) {
      using InVector = cuda::Vector<In, kWidth>;
      if constexpr (kInputs > 0) loaded[0][u] = *reinterpret_cast<const InVector*>(at(a, i));
      if constexpr (kInputs > 1) loaded[1][u] = *reinterpret_cast<const InVector*>(at(b, i));
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = first + u * kThreads;
    if (i >= num_vectors) continue;
    cuda::Vector<Out, kWidth> result;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if constexpr (kInputs == 0) {
        result.values[j] = Narrow<Out>(function());
      } else if constexpr (kInputs == 1) {
        result.values[j] = Narrow<Out>(function(Widen(loaded[0][u].values[j])));
      } else {
        result.values[j] =
            Narrow<Out>(function(Widen(loaded[0][u].values[j]), Widen(loaded[1][u].values[j])));
      }
    }
    cuda::StoreVector(result, at(out, i));
  }
}

template <typename T>
Rows<const T> RowsOf(const ConstTensorView& view) {
  return {static_cast<const T*>(view.address()), view.rank() > 0 ? view.stride(0) : 0};
}

// Launches MapKernel with the widest vectors that the views allow. In and Out have the sizes of the
// views' elements; a and b may be null where the function takes fewer inputs.
template <int kInputs, typename In, typename Out, typename Function>
absl::Status Map(Function function, const ConstTensorView& a, const ConstTensorView& b,
                 const TensorView& out, Stream& stream) {
  const RowShape shape{out, a.is_null() ? out : a, b.is_null() ? out : b};
  const auto fits = [&](const ConstTensorView& view, int width) {
    const int64_t alignment = std::min<int64_t>(16, width * SizeOf(view.dtype()));
    return view.is_null() ||
           (reinterpret_cast<uintptr_t>(view.address()) % alignment == 0 &&
            (shape.rows <= 1 || view.stride(0) * SizeOf(view.dtype()) % alignment == 0));
  };
  const auto launch = [&]<int kWidth>() {
    const int64_t vectors_per_row = shape.columns / kWidth;
    const int64_t num_vectors = shape.rows * vectors_per_row;
    const cuda::LaunchShape launch_shape = {.grid = cuda::NumBlocks(num_vectors, 4 * kThreads),
                                            .block = kThreads};
    return HETERO_CUDA_LAUNCH((MapKernel<kWidth, kInputs, In, Out, Function>), launch_shape, stream,
                              function, RowsOf<In>(a), RowsOf<In>(b),
                              (Rows<Out>{static_cast<Out*>(out.address()), out.stride(0)}),
                              vectors_per_row, num_vectors);
  };
  constexpr int kWide = std::min(cuda::kFullWidth<In>, cuda::kFullWidth<Out>);
  const bool wide =
      shape.columns % kWide == 0 && fits(a, kWide) && fits(b, kWide) && fits(out, kWide);
  return wide ? launch.template operator()<kWide>() : launch.template operator()<1>();
}

// With float, double or __nv_bfloat16: sums kept in f64 are scaled and added too.
template <typename Function>
absl::Status VisitFloatOrDouble(DType dtype, Function&& function) {
  if (dtype == DType::kF64) return function.template operator()<double>();
  return cuda::VisitFloat(dtype, function);
}

}  // namespace

absl::Status AddCuda(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out,
                     Stream& stream) {
  return VisitFloatOrDouble(
      a.dtype(), [&]<typename T>() { return Map<2, T, T>(AddFunction{}, a, b, out, stream); });
}

absl::Status FillCuda(double value, const TensorView& x, Stream& stream) {
  const auto fill = [&]<typename T>(T element) {
    return Map<0, T, T>(FillFunction<T>{element}, {}, {}, x, stream);
  };
  switch (x.dtype()) {
    case DType::kF64:
      return fill(value);
    case DType::kF32:
      return fill(static_cast<float>(value));
    case DType::kBF16:
      return fill(__float2bfloat16_rn(static_cast<float>(value)));
    case DType::kI32:
      return fill(static_cast<int32_t>(value));
    default:
      return fill(static_cast<int64_t>(value));
  }
}

absl::Status CopyCuda(const ConstTensorView& source, const TensorView& destination,
                      Stream& stream) {
  if (source.dtype() == destination.dtype()) {
    switch (SizeOf(source.dtype())) {
      case 2:
        return Map<1, uint16_t, uint16_t>(CopyFunction{}, source, {}, destination, stream);
      case 4:
        return Map<1, uint32_t, uint32_t>(CopyFunction{}, source, {}, destination, stream);
      default:
        return Map<1, uint64_t, uint64_t>(CopyFunction{}, source, {}, destination, stream);
    }
  }
  if (source.dtype() == DType::kI64) {
    return Map<1, int64_t, double>(CopyFunction{}, source, {}, destination, stream);
  }
  return VisitFloatOrDouble(source.dtype(), [&]<typename From>() {
    return VisitFloatOrDouble(destination.dtype(), [&]<typename To>() {
      return Map<1, From, To>(CopyFunction{}, source, {}, destination, stream);
    });
  });
}

}  // namespace hetero::internal
