#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

template <typename T>
HETERO_CPU_CLONES void SquaredRelu(const T* f, int64_t stride_f, const T* p, T* a, int64_t stride_a,
                                   int64_t rows, int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, f += stride_f, a += stride_a) {
    const T factor = p == nullptr ? T(1) : p[t];
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const T positive = f[c] > T(0) ? f[c] : T(0);
      a[c] = positive * positive * factor;
    }
  }
}

template <typename T>
HETERO_CPU_CLONES void SquaredReluGradient(const T* da, int64_t stride_da, const T* f,
                                           int64_t stride_f, const T* p, T* df, int64_t stride_df,
                                           T* dp, int64_t rows, int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, da += stride_da, f += stride_f, df += stride_df) {
    const T twice_factor = p == nullptr ? T(2) : T(2) * p[t];
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < columns; ++c) {
      const T positive = f[c] > T(0) ? f[c] : T(0);
      const T gradient = da[c] * positive;
      sum += gradient * positive;
      df[c] = gradient * twice_factor;
    }
    if (dp != nullptr) dp[t] = sum;
  }
}

template <typename T>
inline constexpr T kGeluScale = T(0.7978845608);
template <typename T>
inline constexpr T kGeluCubic = T(0.044715);

// ½ (1 + tanh(u)) is the logistic function of 2u, which keeps its relative accuracy far left.
template <typename T>
inline T GeluGate(T x, T cubic_term) {
  return cpu::Sigmoid(T(2) * kGeluScale<T> * x * (T(1) + cubic_term));
}

template <typename T, bool kBias>
HETERO_CPU_CLONES void Gelu(const T* f, int64_t stride_f, const T* bias, T* a, int64_t stride_a,
                            int64_t rows, int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, f += stride_f, a += stride_a) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const T x = kBias ? f[c] + bias[c] : f[c];
      a[c] = x * GeluGate(x, kGeluCubic<T> * x * x);
    }
  }
}

template <typename T, bool kBias, bool kBiasGradient>
HETERO_CPU_CLONES void GeluGradient(const T* da, int64_t stride_da, const T* f, int64_t stride_f,
                                    const T* bias, T* df, int64_t stride_df, T* dbias, int64_t rows,
                                    int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, da += stride_da, f += stride_f, df += stride_df) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const T x = kBias ? f[c] + bias[c] : f[c];
      const T cubic_term = kGeluCubic<T> * x * x;
      const T gate = GeluGate(x, cubic_term);
      const T slope =
          gate + T(2) * x * gate * (T(1) - gate) * kGeluScale<T> * (T(1) + T(3) * cubic_term);
      const T gradient = da[c] * slope;
      df[c] = gradient;
      if constexpr (kBiasGradient) dbias[c] += gradient;
    }
  }
}

template <typename T>
const T* DataOrNull(const ConstTensorView& view) {
  return view.is_null() ? nullptr : view.data<T>();
}

template <typename T>
T* DataOrNull(const TensorView& view) {
  return view.is_null() ? nullptr : view.data<T>();
}

}  // namespace

absl::Status SquaredReluForwardCpu(const ConstTensorView& f_TF, const ConstTensorView& p_T,
                                   const TensorView& a_TF) {
  return VisitFloat(f_TF.dtype(), [&]<typename T>() {
    SquaredRelu(f_TF.data<T>(), f_TF.stride(0), DataOrNull<T>(p_T), a_TF.data<T>(), a_TF.stride(0),
                f_TF.dim(0), f_TF.dim(1));
  });
}

absl::Status SquaredReluBackwardCpu(const SquaredReluBackwardArgs& args) {
  return VisitFloat(args.f_TF.dtype(), [&]<typename T>() {
    SquaredReluGradient(args.da_TF.data<T>(), args.da_TF.stride(0), args.f_TF.data<T>(),
                        args.f_TF.stride(0), DataOrNull<T>(args.p_T), args.df_TF.data<T>(),
                        args.df_TF.stride(0), DataOrNull<T>(args.dp_T), args.f_TF.dim(0),
                        args.f_TF.dim(1));
  });
}

absl::Status GeluForwardCpu(const ConstTensorView& f_TF, const ConstTensorView& bias_F,
                            const TensorView& a_TF) {
  return VisitFloat(f_TF.dtype(), [&]<typename T>() {
    const T* bias = DataOrNull<T>(bias_F);
    const auto gelu = bias == nullptr ? Gelu<T, false> : Gelu<T, true>;
    gelu(f_TF.data<T>(), f_TF.stride(0), bias, a_TF.data<T>(), a_TF.stride(0), f_TF.dim(0),
         f_TF.dim(1));
  });
}

absl::Status GeluBackwardCpu(const GeluBackwardArgs& args) {
  return VisitFloat(args.f_TF.dtype(), [&]<typename T>() {
    const T* bias = DataOrNull<T>(args.bias_F);
    T* dbias = DataOrNull<T>(args.dbias_F);
    const int64_t columns = args.f_TF.dim(1);
    if (dbias != nullptr && !args.accumulate) std::fill_n(dbias, columns, T(0));
    const auto gradient =
        dbias == nullptr
            ? (bias == nullptr ? GeluGradient<T, false, false> : GeluGradient<T, true, false>)
            : (bias == nullptr ? GeluGradient<T, false, true> : GeluGradient<T, true, true>);
    gradient(args.da_TF.data<T>(), args.da_TF.stride(0), args.f_TF.data<T>(), args.f_TF.stride(0),
             bias, args.df_TF.data<T>(), args.df_TF.stride(0), dbias, args.f_TF.dim(0), columns);
  });
}

}  // namespace hetero::internal
