#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

template <typename T>
HETERO_CPU_KERNEL void SquaredRelu(const T* f, int64_t stride_f, const T* p, T* a, int64_t stride_a,
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
HETERO_CPU_KERNEL void SquaredReluGradient(const T* da, int64_t stride_da, const T* f,
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

// Φ(x), given exp(-x² / 2).
inline double NormalDistribution(double x, double) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// Relative error below 4 ulp. With z = |x| / √2 and t = 1 / (1 + 0.4 z), exp(z²) erfc(z) / t is
// smooth in t on (0, 1]: a polynomial of least relative error, 1.3e-7.
HETERO_CPU_KERNEL float NormalDistribution(float x, float exp) {
  const float t = 1.0f / (1.0f + 0.28284271f * std::fabs(x));
  float p = 0.05026225179f;
  p = p * t - 0.1829017681f;
  p = p * t + 0.1690855424f;
  p = p * t - 0.005607254058f;
  p = p * t + 0.1414310863f;
  p = p * t + 0.1685421391f;
  p = p * t + 0.2078426645f;
  p = p * t + 0.2256696013f;
  p = p * t + 0.2256758618f;
  const float tail = 0.5f * exp * t * p;
  return x > 0.0f ? 1.0f - tail : tail;
}

// The share Φ of x that passes, and x Φ'(x).
template <typename T>
struct GeluPoint {
  T gate;
  T rise;
};

template <GeluForm kForm, typename T>
HETERO_CPU_KERNEL GeluPoint<T> GeluAt(T x) {
  if constexpr (kForm == GeluForm::kErf) {
    const T exp = cpu::Exp(T(-0.5) * x * x);
    return {NormalDistribution(x, exp), x * exp * T(0.39894228040143268)};
  } else {
    constexpr T kScale = T(0.7978845608);
    const T cubic_term = T(0.044715) * x * x;
    // ½ (1 + tanh(u)) is the logistic function of 2u, which keeps its relative accuracy far left.
    const T gate = cpu::Sigmoid(T(2) * kScale * x * (T(1) + cubic_term));
    return {gate, T(2) * x * gate * (T(1) - gate) * kScale * (T(1) + T(3) * cubic_term)};
  }
}

template <GeluForm kForm, typename T, bool kBias>
HETERO_CPU_KERNEL void Gelu(const T* f, int64_t stride_f, const T* bias, T* a, int64_t stride_a,
                            int64_t rows, int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, f += stride_f, a += stride_a) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const T x = kBias ? f[c] + bias[c] : f[c];
      a[c] = x * GeluAt<kForm>(x).gate;
    }
  }
}

template <GeluForm kForm, typename T, bool kBias, bool kBiasGradient>
HETERO_CPU_KERNEL void GeluGradient(const T* da, int64_t stride_da, const T* f, int64_t stride_f,
                                    const T* bias, T* df, int64_t stride_df, T* dbias, int64_t rows,
                                    int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, da += stride_da, f += stride_f, df += stride_df) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const T x = kBias ? f[c] + bias[c] : f[c];
      const GeluPoint<T> point = GeluAt<kForm>(x);
      const T gradient = da[c] * (point.gate + point.rise);
      df[c] = gradient;
      if constexpr (kBiasGradient) dbias[c] += gradient;
    }
  }
}

template <typename T, bool kBias>
HETERO_CPU_KERNEL void SwiGlu(const T* f, int64_t stride_f, const T* bias, T* a, int64_t stride_a,
                              int64_t rows, int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, f += stride_f, a += stride_a) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const T gate = kBias ? f[c] + bias[c] : f[c];
      const T up = kBias ? f[columns + c] + bias[columns + c] : f[columns + c];
      a[c] = gate * cpu::Sigmoid(gate) * up;
    }
  }
}

template <typename T, bool kBias, bool kBiasGradient>
HETERO_CPU_KERNEL void SwiGluGradient(const T* da, int64_t stride_da, const T* f, int64_t stride_f,
                                      const T* bias, T* df, int64_t stride_df, T* dbias,
                                      int64_t rows, int64_t columns) {
  for (int64_t t = 0; t < rows; ++t, da += stride_da, f += stride_f, df += stride_df) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      const T gate = kBias ? f[c] + bias[c] : f[c];
      const T up = kBias ? f[columns + c] + bias[columns + c] : f[columns + c];
      const T s = cpu::Sigmoid(gate);
      const T d_gate = da[c] * up * s * (T(1) + gate * (T(1) - s));
      const T d_up = da[c] * gate * s;
      df[c] = d_gate;
      df[columns + c] = d_up;
      if constexpr (kBiasGradient) {
        dbias[c] += d_gate;
        dbias[columns + c] += d_up;
      }
    }
  }
}

// Calls `function.template operator()<form>()`.
template <typename Function>
void VisitForm(GeluForm form, Function&& function) {
  if (form == GeluForm::kErf) {
    function.template operator()<GeluForm::kErf>();
  } else {
    function.template operator()<GeluForm::kTanh>();
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
    cpu::RunKernel<SquaredRelu<T>>(f_TF.data<T>(), f_TF.stride(0), DataOrNull<T>(p_T),
                                   a_TF.data<T>(), a_TF.stride(0), f_TF.dim(0), f_TF.dim(1));
  });
}

absl::Status SquaredReluBackwardCpu(const SquaredReluBackwardArgs& args) {
  return VisitFloat(args.f_TF.dtype(), [&]<typename T>() {
    cpu::RunKernel<SquaredReluGradient<T>>(
        args.da_TF.data<T>(), args.da_TF.stride(0), args.f_TF.data<T>(), args.f_TF.stride(0),
        DataOrNull<T>(args.p_T), args.df_TF.data<T>(), args.df_TF.stride(0),
        DataOrNull<T>(args.dp_T), args.f_TF.dim(0), args.f_TF.dim(1));
  });
}

absl::Status GeluForwardCpu(GeluForm form, const ConstTensorView& f_TF,
                            const ConstTensorView& bias_F, const TensorView& a_TF) {
  return VisitFloat(f_TF.dtype(), [&]<typename T>() {
    VisitForm(form, [&]<GeluForm kForm>() {
      const T* bias = DataOrNull<T>(bias_F);
      const auto gelu = [&]<bool kBias>() {
        cpu::RunKernel<Gelu<kForm, T, kBias>>(f_TF.data<T>(), f_TF.stride(0), bias, a_TF.data<T>(),
                                              a_TF.stride(0), f_TF.dim(0), f_TF.dim(1));
      };
      bias == nullptr ? gelu.template operator()<false>() : gelu.template operator()<true>();
    });
  });
}

absl::Status GeluBackwardCpu(const GeluBackwardArgs& args) {
  return VisitFloat(args.f_TF.dtype(), [&]<typename T>() {
    VisitForm(args.form, [&]<GeluForm kForm>() {
      const T* bias = DataOrNull<T>(args.bias_F);
      T* dbias = DataOrNull<T>(args.dbias_F);
      const int64_t columns = args.f_TF.dim(1);
      if (dbias != nullptr && !args.accumulate) std::fill_n(dbias, columns, T(0));
      const auto gradient = [&]<bool kBias, bool kBiasGradient>() {
        cpu::RunKernel<GeluGradient<kForm, T, kBias, kBiasGradient>>(
            args.da_TF.data<T>(), args.da_TF.stride(0), args.f_TF.data<T>(), args.f_TF.stride(0),
            bias, args.df_TF.data<T>(), args.df_TF.stride(0), dbias, args.f_TF.dim(0), columns);
      };
      if (dbias == nullptr) {
        bias == nullptr ? gradient.template operator()<false, false>()
                        : gradient.template operator()<true, false>();
      } else {
        bias == nullptr ? gradient.template operator()<false, true>()
                        : gradient.template operator()<true, true>();
      }
    });
  });
}

absl::Status SwiGluForwardCpu(const ConstTensorView& f_TD, const ConstTensorView& bias_D,
                              const TensorView& a_TF) {
  return VisitFloat(f_TD.dtype(), [&]<typename T>() {
    const T* bias = DataOrNull<T>(bias_D);
    const auto swiglu = [&]<bool kBias>() {
      cpu::RunKernel<SwiGlu<T, kBias>>(f_TD.data<T>(), f_TD.stride(0), bias, a_TF.data<T>(),
                                       a_TF.stride(0), a_TF.dim(0), a_TF.dim(1));
    };
    bias == nullptr ? swiglu.template operator()<false>() : swiglu.template operator()<true>();
  });
}

absl::Status SwiGluBackwardCpu(const SwiGluBackwardArgs& args) {
  return VisitFloat(args.f_TD.dtype(), [&]<typename T>() {
    const T* bias = DataOrNull<T>(args.bias_D);
    T* dbias = DataOrNull<T>(args.dbias_D);
    if (dbias != nullptr && !args.accumulate) std::fill_n(dbias, args.f_TD.dim(1), T(0));
    const auto gradient = [&]<bool kBias, bool kBiasGradient>() {
      cpu::RunKernel<SwiGluGradient<T, kBias, kBiasGradient>>(
          args.da_TF.data<T>(), args.da_TF.stride(0), args.f_TD.data<T>(), args.f_TD.stride(0),
          bias, args.df_TD.data<T>(), args.df_TD.stride(0), dbias, args.da_TF.dim(0),
          args.da_TF.dim(1));
    };
    if (dbias == nullptr) {
      bias == nullptr ? gradient.template operator()<false, false>()
                      : gradient.template operator()<true, false>();
    } else {
      bias == nullptr ? gradient.template operator()<false, true>()
                      : gradient.template operator()<true, true>();
    }
  });
}

}  // namespace hetero::internal
