#ifndef HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_WALK_CUH_
#define HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_WALK_CUH_

// How a thread of the convolution walks over consecutive tokens, a few
// neighbouring channels wide: in groups of kGroup tokens, whose operands are on
// their way to its own part of shared memory long before it computes on them.

#include <cuda_pipeline.h>

#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {

inline constexpr int kConvThreads = 128;
inline constexpr int kGroup = 4;
inline constexpr int kStages = 4;  // groups whose operands are on their way or in use

template <typename T>
struct ConvProblem {
  int64_t tokens, channels, tokens_per_part;
  cuda::Rows<const T> x;
  const T* weight_CK;
  const T* bias;  // null: none
  int64_t row_length;
  const int32_t* sequence_index;  // null: rows are the sequences
};

// The operands of a thread's next groups: kArrays rows a token. A thread reads
// what it copied itself, so nothing but its own copies has to be waited for.
template <typename T, int kWidth, int kArrays>
class OperandRing {
 public:
  static constexpr size_t kSharedBytes =
      sizeof(T) * kWidth * kArrays * kGroup * kStages * kConvThreads;

  // Of channels from c on and tokens [begin, end).
  __device__ OperandRing(void* shared, const cuda::Rows<const T> (&arrays)[kArrays], int64_t c,
                         int64_t begin, int64_t end)
      : slots_(reinterpret_cast<Slot*>(shared) + threadIdx.x), next_(begin), end_(end) {
#pragma unroll
    for (int a = 0; a < kArrays; ++a) {
      from_[a] = arrays[a][begin] + c;
      stride_[a] = arrays[a].stride;
    }
    for (int stage = 0; stage + 1 < kStages; ++stage) Fetch();
  }

  // Makes the group after the one before readable and starts the copies of a
  // later one.
  __device__ void Advance() {
    __pipeline_wait_prior(kStages - 2);
    read_ = read_ + 1 == kStages ? 0 : read_ + 1;
    Fetch();
  }

  // Of token u of the group; undefined outside the tokens.
  __device__ void Read(int u, int array, float (&to)[kWidth]) const {
    const Slot slot = slots_[SlotOf(read_, u, array)];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) to[i] = cuda::ToFloat(slot.values[i]);
  }

 private:
  using Slot = cuda::Vector<T, kWidth>;

  static __device__ int SlotOf(int stage, int u, int array) {
    return ((stage * kGroup + u) * kArrays + array) * kConvThreads;
  }

  __device__ void Fetch() {
#pragma unroll
    for (int u = 0; u < kGroup; ++u) {
      if (next_ + u < end_) {
#pragma unroll
        for (int a = 0; a < kArrays; ++a) {
          Slot* const slot = slots_ + SlotOf(write_, u, a);
          if constexpr (sizeof(Slot) >= 4) {
            __pipeline_memcpy_async(slot, from_[a], sizeof(Slot));
          } else {
            *slot = *reinterpret_cast<const Slot*>(from_[a]);
          }
          from_[a] += stride_[a];
        }
      }
    }
    __pipeline_commit();
    next_ += kGroup;
    write_ = write_ + 1 == kStages ? 0 : write_ + 1;
  }

  Slot* slots_;
  const T* from_[kArrays];
  int64_t stride_[kArrays];
  int64_t next_, end_;
  int write_ = 0;
  int read_ = kStages - 1;
};

// Where sequences start, for a walk from `begin` on.
template <typename T, int kTaps>
class SequenceWalk {
 public:
  __device__ SequenceWalk(const ConvProblem<T>& problem, int64_t begin)
      : problem_(problem),
        row_begin_(begin - begin % problem.row_length),
        row_end_(row_begin_ + problem.row_length) {
    if (problem.sequence_index == nullptr) return;
    if (begin > kGroup) newest_[0] = problem.sequence_index[begin - kGroup - 1];
    if (begin > 0) newest_[1] = problem.sequence_index[begin - 1];
  }

  // Whether the group and the kTaps - 1 tokens before it lie in one sequence;
  // false where it is not sure. For one group after another.
  __device__ bool InOneSequence(int64_t first) {
    while (first - (kTaps - 1) >= row_end_) {
      row_begin_ = row_end_;
      row_end_ += problem_.row_length;
    }
    bool result = first - (kTaps - 1) >= row_begin_ && first + kGroup <= row_end_;
    if (problem_.sequence_index != nullptr) {
      const int32_t newest = problem_.sequence_index[min(first + kGroup, problem_.tokens) - 1];
      // The numbers ascend, so that equal ends have no other between them.
      result = result && newest_[0] == newest;
      newest_[0] = newest_[1];
      newest_[1] = newest;
    }
    return result;
  }

  // Bit i: whether token first - (kTaps - 1) + i is the first of its sequence,
  // or none of the problem's.
  __device__ uint32_t Starts(int64_t first) const {
    int64_t t = first - (kTaps - 1);
    int64_t position = t > 0 ? t % problem_.row_length : 0;
    uint32_t starts = 0;
#pragma unroll
    for (int i = 0; i < kTaps - 1 + kGroup; ++i, ++t) {
      const bool start = t <= 0 || t >= problem_.tokens || position == 0 ||
                         (problem_.sequence_index != nullptr &&
                          problem_.sequence_index[t] != problem_.sequence_index[t - 1]);
      starts |= static_cast<uint32_t>(start) << i;
      if (t >= 0) position = position + 1 == problem_.row_length ? 0 : position + 1;
    }
    return starts;
  }

 private:
  const ConvProblem<T>& problem_;
  int64_t row_begin_, row_end_;
  int32_t newest_[2] = {-1, -1};  // sequences of the last tokens of the two groups before
};

// Which tokens of a group and of the kTaps - 1 before it, numbered from the
// first of those on, see one another. kOne: all do.
template <bool kOne>
struct Together {
  uint32_t starts = 0;

  // Precondition: a <= b.
  __device__ bool operator()(int a, int b) const {
    return kOne || (starts & ((2u << b) - (2u << a))) == 0;
  }
};

// Weights of a thread's channels, and inputs of a group after those of the
// kTaps - 1 tokens before.
template <typename T, int kTaps, int kWidth>
struct ConvWindow {
  float weight[kTaps][kWidth];
  float bias[kWidth];
  float x[kTaps - 1 + kGroup][kWidth];

  // Before token t.
  __device__ ConvWindow(const ConvProblem<T>& problem, int64_t c, int64_t t) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      bias[i] = problem.bias == nullptr ? 0.0f : cuda::ToFloat(problem.bias[c + i]);
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        weight[k][i] = cuda::ToFloat(problem.weight_CK[(c + i) * kTaps + k]);
      }
    }
#pragma unroll
    for (int j = 0; j + 1 < kTaps; ++j) {
      const int64_t before = t - (kTaps - 1) + j;
      if (before >= 0) {
        cuda::Load(problem.x[before] + c, x[j]);
      } else {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) x[j][i] = 0;
      }
    }
  }

  // Of token u of the group and channel i, before the activation.
  template <bool kOne>
  __device__ float Sum(int u, int i, Together<kOne> together) const {
    float sum = bias[i];
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      if (together(u + k, u + kTaps - 1)) sum += weight[k][i] * x[u + k][i];
    }
    return sum;
  }
};

// What the next group needs of this one's.
template <int kCount, int kWidth>
__device__ inline void KeepNewest(float (&values)[kCount][kWidth]) {
#pragma unroll
  for (int j = 0; j < kCount - kGroup; ++j) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[j][i] = values[j + kGroup][i];
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_WALK_CUH_
