#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/cpu_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops/attention/attention_cpu.cc"
#include "hwy/foreach_target.h"  // includes this file once a target
//
#include "hetero/tensor/ops/cpu_fold-inl.h"
#include "hetero/tensor/ops/register_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hetero::internal::HWY_NAMESPACE {
namespace {

using cpu::HWY_NAMESPACE::RegisterProduct;

constexpr int64_t kQ = kAttentionQueryRows;

// A head of one segment: `rows` rows of `size` elements, `stride` apart.
template <typename T>
struct Head {
  T* data;
  int64_t stride;
  int64_t rows;
  int64_t size;

  T* Row(int64_t t) const { return data + t * stride; }
};

// out[d, t] = head[t, d], columns up to the padded length zero.
template <typename T>
HETERO_CPU_KERNEL void Transpose(const Head<const T>& head, T* out, int64_t out_row) {
  for (int64_t t = 0; t < head.rows; ++t) {
    const T* row = head.Row(t);
    for (int64_t d = 0; d < head.size; ++d) out[d * out_row + t] = row[d];
  }
  for (int64_t d = 0; d < head.size; ++d) {
    std::fill(out + d * out_row + head.rows, out + d * out_row + PaddedForAttention(head.rows),
              T(0));
  }
}

// out[t, :] = rows [begin, begin + count) of the head, each filled up with zeros.
template <typename T>
HETERO_CPU_KERNEL void Gather(const Head<const T>& head, int64_t begin, int64_t count, T* out,
                              int64_t out_row) {
  for (int64_t t = 0; t < count; ++t) {
    const T* row = head.Row(begin + t);
    T* to = out + t * out_row;
    std::copy(row, row + head.size, to);
    std::fill(to + head.size, to + out_row, T(0));
  }
}

template <typename T>
HETERO_CPU_KERNEL void Scatter(const T* in, int64_t in_row, const Head<T>& head, int64_t begin,
                               int64_t count) {
  for (int64_t t = 0; t < count; ++t) {
    const T* from = in + t * in_row;
    std::copy(from, from + head.size, head.Row(begin + t));
  }
}

// Keys that row `row` of a segment of `length` sees.
constexpr int64_t VisibleKeys(bool causal, int64_t row, int64_t length) {
  return causal ? row + 1 : length;
}

template <typename T>
struct ForwardHead {
  Head<const T> query;
  Head<T> out;
  T* lse;
  T scale;
  bool causal;
};

template <typename T>
struct ForwardMemory {
  T *key, *value, *score, *out;
  int64_t key_row, value_row, score_row, out_row;
};

template <typename T>
void PackForward(const Head<const T>& key, const Head<const T>& value,
                 const ForwardMemory<T>& memory) {
  Transpose(key, memory.key, memory.key_row);
  Gather(value, 0, value.rows, memory.value, memory.value_row);
}

template <typename T>
void Forward(const ForwardHead<T>& head, const ForwardMemory<T>& memory) {
  const int64_t length = head.query.rows;
  const int64_t size = head.query.size;
  const T scale = head.scale;
  T inverse_sum[kQ];
  for (int64_t begin = 0; begin < length; begin += kQ) {
    const int64_t rows = std::min(kQ, length - begin);
    const int64_t num_keys = VisibleKeys(head.causal, begin + rows - 1, length);
    const int64_t padded_keys = PaddedForAttention(num_keys);
    RegisterProduct<T>({rows, padded_keys, size, head.query.Row(begin), head.query.stride, 1,
                        memory.key, memory.key_row, memory.score, memory.score_row});
    for (int64_t i = 0; i < rows; ++i) {
      T* const score = memory.score + i * memory.score_row;
      const int64_t visible = VisibleKeys(head.causal, begin + i, length);
      std::fill(score + visible, score + padded_keys, -std::numeric_limits<T>::infinity());
      const T maximum = cpu::HWY_NAMESPACE::Maximum(score, padded_keys);
#pragma omp simd
      for (int64_t j = 0; j < padded_keys; ++j) score[j] = cpu::Exp((score[j] - maximum) * scale);
      const T sum = cpu::HWY_NAMESPACE::Sum(score, padded_keys);
      inverse_sum[i] = T(1) / sum;
      head.lse[begin + i] = maximum * scale + std::log(sum);
    }
    RegisterProduct<T>({rows, memory.out_row, num_keys, memory.score, memory.score_row, 1,
                        memory.value, memory.value_row, memory.out, memory.out_row});
    for (int64_t i = 0; i < rows; ++i) {
      const T* const from = memory.out + i * memory.out_row;
      T* const to = head.out.Row(begin + i);
      const T factor = inverse_sum[i];
#pragma omp simd
      for (int64_t d = 0; d < size; ++d) to[d] = from[d] * factor;
    }
  }
}

template <typename T>
HETERO_CPU_KERNEL T Dot(const T* a, const T* b, int64_t n) {
  alignas(64) T partial[kAttentionPad] = {};
  int64_t i = 0;
  for (; i + kAttentionPad <= n; i += kAttentionPad) {
#pragma omp simd
    for (int64_t lane = 0; lane < kAttentionPad; ++lane) partial[lane] += a[i + lane] * b[i + lane];
  }
  for (int64_t lane = 0; i < n; ++i, ++lane) partial[lane] += a[i] * b[i];
  return cpu::HWY_NAMESPACE::Sum(partial, kAttentionPad);
}

template <typename T>
struct BackwardHead {
  Head<const T> query, out, d_out;
  Head<T> d_query;
  const T* lse;
  T scale;
  bool causal;
};

template <typename T>
struct BackwardMemory {
  T *key_t, *value_t, *key, *d_key, *d_value, *probability, *d_score, *query, *d_out, *d_query;
  int64_t length_row;  // of the matrices whose columns are keys
  int64_t size_row;    // of the matrices whose columns are the head's elements
};

template <typename T>
void PackBackward(const Head<const T>& key, const Head<const T>& value,
                  const BackwardMemory<T>& memory) {
  Transpose(key, memory.key_t, memory.length_row);
  Transpose(value, memory.value_t, memory.length_row);
  Gather(key, 0, key.rows, memory.key, memory.size_row);
  std::fill_n(memory.d_key, key.rows * memory.size_row, T(0));
  std::fill_n(memory.d_value, key.rows * memory.size_row, T(0));
}

template <typename T>
void Backward(const BackwardHead<T>& head, const BackwardMemory<T>& memory) {
  const int64_t length = head.query.rows;
  const int64_t size = head.query.size;
  const int64_t length_row = memory.length_row;
  const int64_t size_row = memory.size_row;
  const T scale = head.scale;
  for (int64_t begin = 0; begin < length; begin += kQ) {
    const int64_t rows = std::min(kQ, length - begin);
    const int64_t num_keys = VisibleKeys(head.causal, begin + rows - 1, length);
    Gather(head.query, begin, rows, memory.query, size_row);
    Gather(head.d_out, begin, rows, memory.d_out, size_row);
    const int64_t padded_keys = PaddedForAttention(num_keys);
    RegisterProduct<T>({rows, padded_keys, size, memory.query, size_row, 1, memory.key_t,
                        length_row, memory.probability, length_row});
    RegisterProduct<T>({rows, padded_keys, size, memory.d_out, size_row, 1, memory.value_t,
                        length_row, memory.d_score, length_row});
    for (int64_t i = 0; i < rows; ++i) {
      T* const probability = memory.probability + i * length_row;
      T* const d_score = memory.d_score + i * length_row;
      const int64_t visible = VisibleKeys(head.causal, begin + i, length);
      const T lse = head.lse[begin + i];
      const T delta = Dot(head.out.Row(begin + i), memory.d_out + i * size_row, size);
#pragma omp simd
      for (int64_t j = 0; j < padded_keys; ++j) {
        const T p = cpu::Exp(probability[j] * scale - lse);
        probability[j] = p;
        d_score[j] = p * (d_score[j] - delta) * scale;
      }
      std::fill(probability + visible, probability + num_keys, T(0));
      std::fill(d_score + visible, d_score + num_keys, T(0));
    }
    RegisterProduct<T>({num_keys, size_row, rows, memory.probability, 1, length_row, memory.d_out,
                        size_row, memory.d_value, size_row, /*accumulate=*/true});
    RegisterProduct<T>({num_keys, size_row, rows, memory.d_score, 1, length_row, memory.query,
                        size_row, memory.d_key, size_row, /*accumulate=*/true});
    RegisterProduct<T>({rows, size_row, num_keys, memory.d_score, length_row, 1, memory.key,
                        size_row, memory.d_query, size_row});
    Scatter(memory.d_query, size_row, head.d_query, begin, rows);
  }
}

// The head `index` of the slots of `size` elements in the rows of one segment.
template <typename T, typename View>
auto HeadOf(const View& rows, int64_t index, const AttentionShape& shape, int64_t segment) {
  const int64_t begin = shape.segments[segment];
  using Element = std::remove_pointer_t<decltype(rows.template data<T>())>;
  return Head<Element>{rows.template data<T>() + begin * rows.stride(0) + index * shape.head_size,
                       rows.stride(0), shape.segments[segment + 1] - begin, shape.head_size};
}

template <typename T>
void ForwardSegments(const AttentionForwardArgs& args, const AttentionForwardScratch& scratch) {
  const AttentionShape& shape = args.shape;
  const int64_t num_queries = shape.heads_per_group;
  const ForwardMemory<T> memory{.key = scratch.key_DLp.data<T>(),
                                .value = scratch.value_LDp.data<T>(),
                                .score = scratch.score_QLp.data<T>(),
                                .out = scratch.out_QDp.data<T>(),
                                .key_row = scratch.key_DLp.dim(1),
                                .value_row = scratch.value_LDp.dim(1),
                                .score_row = scratch.score_QLp.dim(1),
                                .out_row = scratch.out_QDp.dim(1)};
  for (size_t s = 0; s + 1 < shape.segments.size(); ++s) {
    if (shape.segments[s] == shape.segments[s + 1]) continue;
    for (int64_t g = 0; g < shape.num_groups; ++g) {
      const int64_t slot = g * (num_queries + 2);
      PackForward<T>(HeadOf<T>(args.qkv, slot + num_queries, shape, s),
                     HeadOf<T>(args.qkv, slot + num_queries + 1, shape, s), memory);
      for (int64_t r = 0; r < num_queries; ++r) {
        const int64_t head = g * num_queries + r;
        Forward<T>({.query = HeadOf<T>(args.qkv, slot + r, shape, s),
                    .out = HeadOf<T>(args.o, head, shape, s),
                    .lse = args.lse_HT.data<T>() + head * args.lse_HT.dim(1) + shape.segments[s],
                    .scale = static_cast<T>(shape.scale),
                    .causal = shape.causal},
                   memory);
      }
    }
  }
}

template <typename T>
void BackwardSegments(const AttentionBackwardArgs& args, const AttentionBackwardScratch& scratch) {
  const AttentionShape& shape = args.shape;
  const int64_t num_queries = shape.heads_per_group;
  const BackwardMemory<T> memory{.key_t = scratch.key_DLp.data<T>(),
                                 .value_t = scratch.value_DLp.data<T>(),
                                 .key = scratch.key_LDp.data<T>(),
                                 .d_key = scratch.d_key_LDp.data<T>(),
                                 .d_value = scratch.d_value_LDp.data<T>(),
                                 .probability = scratch.probability_QLp.data<T>(),
                                 .d_score = scratch.d_score_QLp.data<T>(),
                                 .query = scratch.query_QDp.data<T>(),
                                 .d_out = scratch.d_out_QDp.data<T>(),
                                 .d_query = scratch.d_query_QDp.data<T>(),
                                 .length_row = scratch.key_DLp.dim(1),
                                 .size_row = scratch.key_LDp.dim(1)};
  for (size_t s = 0; s + 1 < shape.segments.size(); ++s) {
    const int64_t length = shape.segments[s + 1] - shape.segments[s];
    if (length == 0) continue;
    for (int64_t g = 0; g < shape.num_groups; ++g) {
      const int64_t slot = g * (num_queries + 2);
      PackBackward<T>(HeadOf<T>(args.qkv, slot + num_queries, shape, s),
                      HeadOf<T>(args.qkv, slot + num_queries + 1, shape, s), memory);
      for (int64_t r = 0; r < num_queries; ++r) {
        const int64_t head = g * num_queries + r;
        Backward<T>({.query = HeadOf<T>(args.qkv, slot + r, shape, s),
                     .out = HeadOf<T>(args.o, head, shape, s),
                     .d_out = HeadOf<T>(args.d_o, head, shape, s),
                     .d_query = HeadOf<T>(args.d_qkv, slot + r, shape, s),
                     .lse = args.lse_HT.data<T>() + head * args.lse_HT.dim(1) + shape.segments[s],
                     .scale = static_cast<T>(shape.scale),
                     .causal = shape.causal},
                    memory);
      }
      Scatter<T>(memory.d_key, memory.size_row, HeadOf<T>(args.d_qkv, slot + num_queries, shape, s),
                 0, length);
      Scatter<T>(memory.d_value, memory.size_row,
                 HeadOf<T>(args.d_qkv, slot + num_queries + 1, shape, s), 0, length);
    }
  }
}

absl::Status RunForward(const AttentionForwardArgs& args, const AttentionForwardScratch& scratch) {
  return VisitFloat(args.qkv.dtype(), [&]<typename T>() { ForwardSegments<T>(args, scratch); });
}

absl::Status RunBackward(const AttentionBackwardArgs& args,
                         const AttentionBackwardScratch& scratch) {
  return VisitFloat(args.qkv.dtype(), [&]<typename T>() { BackwardSegments<T>(args, scratch); });
}

}  // namespace
}  // namespace hetero::internal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hetero::internal {

HWY_EXPORT(RunForward);
HWY_EXPORT(RunBackward);

absl::Status AttentionForwardCpu(const AttentionForwardArgs& args,
                                 const AttentionForwardScratch& scratch) {
  return HWY_DYNAMIC_DISPATCH(RunForward)(args, scratch);
}

absl::Status AttentionBackwardCpu(const AttentionBackwardArgs& args,
                                  const AttentionBackwardScratch& scratch) {
  return HWY_DYNAMIC_DISPATCH(RunBackward)(args, scratch);
}

}  // namespace hetero::internal
#endif  // HWY_ONCE
