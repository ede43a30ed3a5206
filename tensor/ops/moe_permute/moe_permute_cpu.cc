#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"

namespace hetero::internal {
namespace {

// Features summed at a time: their partial sums stay in registers.
constexpr int64_t kSumBlock = 64;

template <typename T>
HETERO_CPU_KERNEL void SumRows(const T* rows_RH, const int32_t* rows_TK, const T* addend,
                               int64_t addend_stride, T* out, int64_t out_stride,
                               int64_t num_tokens, int64_t top_k, int64_t num_features) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    const int32_t* rows = rows_TK + t * top_k;
    const bool has_rows = rows[0] >= 0;
    for (int64_t begin = 0; begin < num_features; begin += kSumBlock) {
      const int64_t count = std::min(kSumBlock, num_features - begin);
      T sum[kSumBlock] = {};
      for (int64_t j = top_k - 1; has_rows && j >= 0; --j) {
        const T* row = rows_RH + rows[j] * num_features + begin;
#pragma omp simd
        for (int64_t h = 0; h < count; ++h) sum[h] += row[h];
      }
      T* to = out + t * out_stride + begin;
      if (addend == nullptr) {
#pragma omp simd
        for (int64_t h = 0; h < count; ++h) to[h] = sum[h];
      } else {
        const T* from = addend + t * addend_stride + begin;
#pragma omp simd
        for (int64_t h = 0; h < count; ++h) to[h] = from[h] + sum[h];
      }
    }
  }
}

}  // namespace

absl::Status AssignExpertRowsCpu(const AssignExpertRowsArgs& args, const TensorView& cursors_E) {
  const int64_t num_experts = args.counts_E.dim(0);
  const int64_t top_k = args.experts_TK.dim(1);
  const int32_t* experts = args.experts_TK.data<int32_t>();
  const int32_t* counts = args.counts_E.data<int32_t>();
  int32_t* offsets = args.offsets_E1.data<int32_t>();
  int32_t* rows = args.rows_TK.data<int32_t>();
  int32_t* tokens = args.tokens_R.data<int32_t>();
  int32_t* cursors = cursors_E.data<int32_t>();
  offsets[0] = 0;
  for (int64_t e = 0; e < num_experts; ++e) {
    cursors[e] = offsets[e];
    offsets[e + 1] = offsets[e] + counts[e];
  }
  const int64_t num_choices = args.experts_TK.num_elements();
  for (int64_t i = 0; i < num_choices; ++i) {
    if (experts[i] < 0) {
      rows[i] = -1;
      continue;
    }
    const int32_t row = cursors[experts[i]]++;
    rows[i] = row;
    tokens[row] = static_cast<int32_t>(i / top_k);
  }
  return absl::OkStatus();
}

absl::Status GatherTokenRowsCpu(const ConstTensorView& x_TH, const ConstTensorView& tokens_R,
                                const TensorView& out_RH) {
  return VisitFloat(x_TH.dtype(), [&]<typename T>() {
    const T* x = x_TH.data<T>();
    T* out = out_RH.data<T>();
    const int64_t num_features = x_TH.dim(1);
    for (const int32_t token : tokens_R.values<int32_t>()) {
      out = std::copy_n(x + token * x_TH.stride(0), num_features, out);
    }
  });
}

absl::Status ScatterTokenRowsCpu(const ConstTensorView& x_TH, const ConstTensorView& rows_TK,
                                 const TensorView& out_RH) {
  return VisitFloat(x_TH.dtype(), [&]<typename T>() {
    const T* x = x_TH.data<T>();
    const int32_t* row = rows_TK.data<int32_t>();
    const int64_t num_features = x_TH.dim(1);
    for (int64_t t = 0; t < rows_TK.dim(0); ++t, x += x_TH.stride(0)) {
      for (int64_t j = 0; j < rows_TK.dim(1); ++j, ++row) {
        if (*row >= 0) std::copy_n(x, num_features, out_RH.data<T>() + *row * num_features);
      }
    }
  });
}

absl::Status SumTokenRowsCpu(const ConstTensorView& rows_RH, const ConstTensorView& rows_TK,
                             const ConstTensorView& addend_TH, const TensorView& out_TH) {
  return VisitFloat(out_TH.dtype(), [&]<typename T>() {
    const bool adds = !addend_TH.is_null();
    cpu::RunKernel<SumRows<T>>(rows_RH.data<T>(), rows_TK.data<int32_t>(),
                               adds ? addend_TH.data<T>() : nullptr, adds ? addend_TH.stride(0) : 0,
                               out_TH.data<T>(), out_TH.stride(0), out_TH.dim(0), rows_TK.dim(1),
                               out_TH.dim(1));
  });
}

absl::Status ScatterToRowsCpu(const ConstTensorView& values_TK, const ConstTensorView& rows_TK,
                              const TensorView& out_R) {
  return VisitFloat(out_R.dtype(), [&]<typename T>() {
    const T* values = values_TK.data<T>();
    T* out = out_R.data<T>();
    for (const int32_t row : rows_TK.values<int32_t>()) {
      if (row >= 0) out[row] = *values;
      ++values;
    }
  });
}

absl::Status GatherFromRowsCpu(const ConstTensorView& values_R, const ConstTensorView& rows_TK,
                               const TensorView& out_TK) {
  return VisitFloat(out_TK.dtype(), [&]<typename T>() {
    const T* values = values_R.data<T>();
    T* out = out_TK.data<T>();
    for (const int32_t row : rows_TK.values<int32_t>()) *out++ = row >= 0 ? values[row] : T(0);
  });
}

}  // namespace hetero::internal
