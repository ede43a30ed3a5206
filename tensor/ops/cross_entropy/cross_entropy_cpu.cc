#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops/cross_entropy/cross_entropy_cpu.cc"
#include "hwy/foreach_target.h"  // includes this file once a target
//
#include "hetero/tensor/ops/cpu_fold-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hetero::internal::HWY_NAMESPACE {
namespace {

template <typename T>
struct Logits {
  T* data;
  int64_t stride, rows, columns;

  T* Row(int64_t t) const { return data + t * stride; }
};

template <typename T, typename View>
auto LogitsOf(const View& view) {
  auto* const data = view.template data<T>();
  return Logits<std::remove_pointer_t<decltype(data)>>{data, view.stride(0), view.dim(0),
                                                       view.dim(1)};
}

template <typename T>
HETERO_CPU_KERNEL int64_t FirstEqual(const T* x, T value, int64_t n) {
  int64_t v = 0;
  while (v + 1 < n && x[v] != value) ++v;
  return v;
}

// out = exp(x - maximum), which may be x itself; returns the sum.
template <typename T>
HETERO_CPU_KERNEL T Exponentials(const T* x, T maximum, T* out, int64_t n) {
#pragma omp simd
  for (int64_t v = 0; v < n; ++v) out[v] = cpu::Exp(x[v] - maximum);
  return cpu::HWY_NAMESPACE::Sum(out, n);
}

template <typename T>
void LossAndGradient(const Logits<T>& logits, const int32_t* targets, const T* weight, T* loss,
                     int32_t* argmax) {
  const int64_t columns = logits.columns;
  for (int64_t t = 0; t < logits.rows; ++t) {
    T* const x = logits.Row(t);
    const T maximum = cpu::HWY_NAMESPACE::Maximum(x, columns);
    if (argmax != nullptr) argmax[t] = static_cast<int32_t>(FirstEqual(x, maximum, columns));
    const bool held = targets[t] >= 0 && targets[t] < columns;
    const T target_logit = held ? x[targets[t]] - maximum : T(0);
    const T sum = Exponentials(x, maximum, x, columns);
    loss[t] = std::log(sum) - target_logit;
    const T factor = weight[t] / sum;
#pragma omp simd
    for (int64_t v = 0; v < columns; ++v) x[v] *= factor;
    if (held) x[targets[t]] -= weight[t];
  }
}

// Columns whose exponentials are kept at once where the logits must survive.
constexpr int64_t kBlock = 512;

template <typename T>
HETERO_CPU_KERNEL T SumOfExponentials(const T* x, T maximum, int64_t n) {
  T block[kBlock];
  T sum = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    sum += Exponentials(x + begin, maximum, block, std::min(kBlock, n - begin));
  }
  return sum;
}

template <typename T>
void Loss(const Logits<const T>& logits, const int32_t* targets, T* loss, int32_t* argmax) {
  const int64_t columns = logits.columns;
  for (int64_t t = 0; t < logits.rows; ++t) {
    const T* const x = logits.Row(t);
    const T maximum = cpu::HWY_NAMESPACE::Maximum(x, columns);
    if (argmax != nullptr) argmax[t] = static_cast<int32_t>(FirstEqual(x, maximum, columns));
    const bool held = targets[t] >= 0 && targets[t] < columns;
    const T target_logit = held ? x[targets[t]] - maximum : T(0);
    loss[t] = std::log(SumOfExponentials(x, maximum, columns)) - target_logit;
  }
}

template <typename T>
void RowMaximum(const Logits<const T>& logits, T* max) {
  for (int64_t t = 0; t < logits.rows; ++t) {
    max[t] = logits.columns == 0 ? -std::numeric_limits<T>::infinity()
                                 : cpu::HWY_NAMESPACE::Maximum(logits.Row(t), logits.columns);
  }
}

template <typename T>
void Sums(const Logits<const T>& logits, int64_t first_column, const int32_t* targets, const T* max,
          T* target_logit, T* exponentials, int32_t* argmax) {
  for (int64_t t = 0; t < logits.rows; ++t) {
    const T* const x = logits.Row(t);
    const int64_t target = targets[t] - first_column;
    target_logit[t] = target >= 0 && target < logits.columns ? x[target] - max[t] : T(0);
    exponentials[t] = SumOfExponentials(x, max[t], logits.columns);
    if (argmax == nullptr) continue;
    const int64_t largest = FirstEqual(x, max[t], logits.columns);
    argmax[t] = logits.columns > 0 && x[largest] == max[t]
                    ? static_cast<int32_t>(first_column + largest)
                    : std::numeric_limits<int32_t>::max();
  }
}

template <typename T>
void Gradient(const Logits<T>& logits, int64_t first_column, const int32_t* targets, const T* max,
              const T* exponentials, const T* weight) {
  const int64_t columns = logits.columns;
  for (int64_t t = 0; t < logits.rows; ++t) {
    T* const x = logits.Row(t);
    const T maximum = max[t];
    const T factor = weight[t] / exponentials[t];
#pragma omp simd
    for (int64_t v = 0; v < columns; ++v) x[v] = cpu::Exp(x[v] - maximum) * factor;
    const int64_t target = targets[t] - first_column;
    if (target >= 0 && target < columns) x[target] -= weight[t];
  }
}

int32_t* ArgmaxOrNull(const TensorView& argmax_T) {
  return argmax_T.is_null() ? nullptr : argmax_T.data<int32_t>();
}

absl::Status RunLoss(const CrossEntropyArgs& args) {
  return VisitFloat(args.logits_TV.dtype(), [&]<typename T>() {
    const int32_t* const targets = args.targets_T.data<int32_t>();
    if (args.weight_T.is_null()) {
      Loss<T>(LogitsOf<T>(ConstTensorView(args.logits_TV)), targets, args.loss_T.data<T>(),
              ArgmaxOrNull(args.argmax_T));
    } else {
      LossAndGradient<T>(LogitsOf<T>(args.logits_TV), targets, args.weight_T.data<T>(),
                         args.loss_T.data<T>(), ArgmaxOrNull(args.argmax_T));
    }
  });
}

absl::Status RunMaximum(const ConstTensorView& logits_TV, const TensorView& max_T) {
  return VisitFloat(logits_TV.dtype(),
                    [&]<typename T>() { RowMaximum<T>(LogitsOf<T>(logits_TV), max_T.data<T>()); });
}

absl::Status RunSums(const CrossEntropySumsArgs& args) {
  return VisitFloat(args.logits_TV.dtype(), [&]<typename T>() {
    T* const sums = args.sums_2T.data<T>();
    Sums<T>(LogitsOf<T>(args.logits_TV), args.first_column, args.targets_T.data<int32_t>(),
            args.max_T.data<T>(), sums, sums + args.sums_2T.dim(1), ArgmaxOrNull(args.argmax_T));
  });
}

absl::Status RunGradient(const TensorView& logits_TV, int64_t first_column,
                         const ConstTensorView& targets_T, const ConstTensorView& max_T,
                         const ConstTensorView& sums_2T, const ConstTensorView& weight_T) {
  return VisitFloat(logits_TV.dtype(), [&]<typename T>() {
    Gradient<T>(LogitsOf<T>(logits_TV), first_column, targets_T.data<int32_t>(), max_T.data<T>(),
                sums_2T.data<T>() + sums_2T.dim(1), weight_T.data<T>());
  });
}

}  // namespace
}  // namespace hetero::internal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hetero::internal {

HWY_EXPORT(RunLoss);
absl::Status CrossEntropyCpu(const CrossEntropyArgs& args) {
  return HWY_DYNAMIC_DISPATCH(RunLoss)(args);
}

HWY_EXPORT(RunMaximum);
absl::Status CrossEntropyMaximumCpu(const ConstTensorView& logits_TV, const TensorView& max_T) {
  return HWY_DYNAMIC_DISPATCH(RunMaximum)(logits_TV, max_T);
}

HWY_EXPORT(RunSums);
absl::Status CrossEntropySumsCpu(const CrossEntropySumsArgs& args) {
  return HWY_DYNAMIC_DISPATCH(RunSums)(args);
}

HWY_EXPORT(RunGradient);
absl::Status CrossEntropyGradientCpu(const TensorView& logits_TV, int64_t first_column,
                                     const ConstTensorView& targets_T, const ConstTensorView& max_T,
                                     const ConstTensorView& sums_2T,
                                     const ConstTensorView& weight_T) {
  return HWY_DYNAMIC_DISPATCH(RunGradient)(logits_TV, first_column, targets_T, max_T, sums_2T,
                                           weight_T);
}

absl::Status CrossEntropyLossCpu(const ConstTensorView& sums_2T, const TensorView& loss_T) {
  return VisitFloat(sums_2T.dtype(), [&]<typename T>() {
    const T* const target_logit = sums_2T.data<T>();
    const T* const exponentials = target_logit + sums_2T.dim(1);
    T* const loss = loss_T.data<T>();
    for (int64_t t = 0; t < sums_2T.dim(1); ++t) {
      loss[t] = std::log(exponentials[t]) - target_logit[t];
    }
  });
}

absl::Status AddWeightedLossCpu(const ConstTensorView& loss_T, const ConstTensorView& weight_T,
                                const TensorView& totals_2) {
  return VisitFloat(loss_T.dtype(), [&]<typename T>() {
    const T* const loss = loss_T.data<T>();
    const T* const weight = weight_T.data<T>();
    double loss_sum = 0;
    double weight_sum = 0;
    for (int64_t t = 0; t < loss_T.dim(0); ++t) {
      loss_sum += static_cast<double>(loss[t]) * weight[t];
      weight_sum += weight[t];
    }
    double* const totals = totals_2.data<double>();
    totals[0] += loss_sum;
    totals[1] += weight_sum;
  });
}

}  // namespace hetero::internal
#endif  // HWY_ONCE
