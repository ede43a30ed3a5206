#include <algorithm>
#include <cstdint>
#include <limits>

#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/router/router.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"
#include "hetero/tensor/validate.h"

namespace hetero::internal {
namespace {

using cuda::kWarpSize;

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr float kTiny = 1e-20f;
constexpr unsigned kFullMask = 0xffffffffu;

struct ForwardOperands {
  RouterSequences sequences;
  int64_t num_rows;
  const int32_t* token_offsets;  // null: no padding
  int num_experts, top_k;
  int num_groups, chosen_groups;
  const float* logits_TE;
  const float* bias;
  float scale;
  bool normalizes;
  bool balanced;
  int32_t* experts_TK;
  float* probs_TK;
  int32_t* counts;
  unsigned long long* total_counts;  // null: not wanted
  int32_t* aux_counts_BE;            // null: not wanted
  float* aux_parts_PBE;
};

// The k largest of a warp's scores, which it consumes, to chosen[0, k), ascending; all lanes may
// read them then. As on the CPU: ties to the lower expert, and what compares with nothing (NaN)
// last, in index order.
__device__ void SelectLargest(float* scores, int num_experts, int top_k, int32_t* chosen) {
  constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
  const int lane = threadIdx.x % kWarpSize;
  for (int j = 0; j < top_k; ++j) {
    float largest = -INFINITY;
    int32_t best = kNone;
    for (int e = lane; e < num_experts; e += kWarpSize) {
      if (scores[e] > largest) {
        largest = scores[e];
        best = e;
      }
    }
#pragma unroll
    for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(kFullMask, largest, distance);
      const int32_t other_best = __shfl_xor_sync(kFullMask, best, distance);
      if (other > largest || (other == largest && other_best < best)) {
        largest = other;
        best = other_best;
      }
    }
    if (lane == 0) {
      if (best == kNone) {
        const auto taken = [&](int32_t e) {
          for (int i = 0; i < j; ++i) {
            if (chosen[i] == e) return true;
          }
          return false;
        };
        for (best = 0; taken(best); ++best) {
        }
      }
      scores[best] = -INFINITY;
      int slot = j;
      for (; slot > 0 && chosen[slot - 1] > best; --slot) chosen[slot] = chosen[slot - 1];
      chosen[slot] = best;
    }
    __syncwarp();
  }
}

// Leaves a warp's scores of the groups to choose from, and the others' below all that can be
// chosen, as on the CPU. `group_scores` is scratch of the warp; its scores are visible to it before
// and after.
__device__ void LimitToGroups(float* scores, int num_experts, int num_groups, int chosen_groups,
                              float* group_scores) {
  const int lane = threadIdx.x % kWarpSize;
  const int size = num_experts / num_groups;
  for (int g = lane; g < num_groups; g += kWarpSize) {
    float largest = -INFINITY, second = -INFINITY;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      if (scores[e] > largest) {
        second = largest;
        largest = scores[e];
      } else if (scores[e] > second) {
        second = scores[e];
      }
    }
    group_scores[g] = largest + second;
  }
  __syncwarp();
  for (int g = lane; g < num_groups; g += kWarpSize) {
    int better = 0;
    for (int other = 0; other < num_groups; ++other) {
      better += group_scores[other] > group_scores[g] ||
                (other < g && group_scores[other] == group_scores[g]);
    }
    if (better < chosen_groups) continue;
    for (int e = g * size; e < (g + 1) * size; ++e) scores[e] = -INFINITY;
  }
  __syncwarp();
}

// Shared memory of a block: for each warp its scores, the scores it selects from, the sums of P of
// its tokens, its choices and, where groups limit, their scores; for the block how often an expert
// was chosen, with bias and without.
struct ForwardShared {
  float* scores;
  float* selectable;
  float* prob_sums;  // of warp 0; those of the next are after num_experts
  float* group_scores;
  int32_t* chosen;
  int* counts;
  int* aux_counts;

  __device__ ForwardShared(float* memory, int num_experts, int top_k, int num_groups) {
    const int warp = threadIdx.x / kWarpSize;
    scores = memory + warp * num_experts;
    selectable = memory + (kWarps + warp) * num_experts;
    prob_sums = memory + 2 * kWarps * num_experts;
    counts = reinterpret_cast<int*>(memory + 3 * kWarps * num_experts);
    aux_counts = counts + num_experts;
    chosen = aux_counts + num_experts + warp * top_k;
    group_scores =
        reinterpret_cast<float*>(aux_counts + num_experts + kWarps * top_k) + warp * num_groups;
  }
  static size_t Bytes(int num_experts, int top_k, int limiting_groups) {
    return sizeof(float) * ((3 * kWarps + 2) * static_cast<size_t>(num_experts) +
                            kWarps * (top_k + limiting_groups));
  }
};

// Places of a block, of one sequence: a warp does every kWarps-th of those that are rows.
constexpr int64_t kChunk = kRouterChunk;

__global__ __launch_bounds__(kThreads) void RouterForwardKernel(ForwardOperands op) {
  extern __shared__ float memory[];
  const int num_experts = op.num_experts;
  const ForwardShared shared(memory, num_experts, op.top_k, op.num_groups);
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const bool aux = op.aux_counts_BE != nullptr;
  for (int i = threadIdx.x; i < kWarps * num_experts; i += kThreads) shared.prob_sums[i] = 0;
  for (int i = threadIdx.x; i < 2 * num_experts; i += kThreads) shared.counts[i] = 0;
  __syncthreads();

  const int64_t sequence = blockIdx.y;
  const int64_t chunk = blockIdx.x;
  const int64_t length = op.sequences.length;
  const int64_t first_place = sequence * length;
  const bool padded = op.token_offsets != nullptr;
  const int64_t tokens_before = padded ? op.token_offsets[sequence] : first_place;
  const int64_t num_tokens = padded ? op.token_offsets[sequence + 1] - tokens_before : length;
  // In rows; may be before the first.
  const int64_t first = first_place - op.sequences.first;
  const int64_t from = first + chunk * kChunk;
  const int64_t begin = max(int64_t{0}, from);
  const int64_t last = min(op.num_rows, min(from + kChunk, first + length));  // padding included
  const int64_t end = max(begin, min(last, first + num_tokens));
  for (int64_t i = end * op.top_k + threadIdx.x; i < last * op.top_k; i += kThreads) {
    op.experts_TK[i] = -1;
    op.probs_TK[i] = 0;
  }
  for (int64_t t = begin + warp; t < end; t += kWarps) {
    float total = 0;
    for (int e = lane; e < num_experts; e += kWarpSize) {
      const float score = cuda::Sigmoid(op.logits_TE[t * num_experts + e]);
      shared.scores[e] = score;
      shared.selectable[e] = score;
      total += score;
    }
    if (aux) {
      const float normalize = 1.0f / (cuda::WarpSum(total) + kTiny);
      float* const prob_sums = shared.prob_sums + warp * num_experts;
      for (int e = lane; e < num_experts; e += kWarpSize) {
        prob_sums[e] += shared.scores[e] * normalize;
      }
      __syncwarp();
      SelectLargest(shared.selectable, num_experts, op.top_k, shared.chosen);
      for (int j = lane; j < op.top_k; j += kWarpSize) {
        atomicAdd(shared.aux_counts + shared.chosen[j], 1);
      }
      __syncwarp();
    }
    if (op.balanced) {
      // Of K consecutive numbers modulo E, those that wrapped around are the small ones.
      const int from = static_cast<int>((tokens_before + t - first) * op.top_k % num_experts);
      const int wrapped = max(0, from + op.top_k - num_experts);
      for (int j = lane; j < op.top_k; j += kWarpSize) {
        shared.chosen[j] = j < wrapped ? j : from + j - wrapped;
      }
      __syncwarp();
    } else {
      for (int e = lane; e < num_experts; e += kWarpSize) {
        shared.selectable[e] = shared.scores[e] + op.bias[e];
      }
      __syncwarp();
      if (op.chosen_groups < op.num_groups) {
        LimitToGroups(shared.selectable, num_experts, op.num_groups, op.chosen_groups,
                      shared.group_scores);
      }
      SelectLargest(shared.selectable, num_experts, op.top_k, shared.chosen);
    }
    float selected_sum = 0;
    for (int j = 0; j < op.top_k; ++j) selected_sum += shared.scores[shared.chosen[j]];
    const float factor = op.normalizes ? op.scale / (selected_sum + kTiny) : op.scale;
    for (int j = lane; j < op.top_k; j += kWarpSize) {
      const int32_t expert = shared.chosen[j];
      op.experts_TK[t * op.top_k + j] = expert;
      op.probs_TK[t * op.top_k + j] = factor * shared.scores[expert];
      atomicAdd(shared.counts + expert, 1);
    }
    __syncwarp();
  }

  __syncthreads();
  // Sums of integers have no order.
  for (int e = threadIdx.x; e < num_experts; e += kThreads) {
    if (const int count = shared.counts[e]; count > 0) {
      atomicAdd(op.counts + e, count);
      if (op.total_counts != nullptr) {
        atomicAdd(op.total_counts + e, static_cast<unsigned long long>(count));
      }
    }
    if (!aux) continue;
    if (const int count = shared.aux_counts[e]; count > 0) {
      atomicAdd(op.aux_counts_BE + sequence * num_experts + e, count);
    }
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += shared.prob_sums[w * num_experts + e];
    op.aux_parts_PBE[(chunk * gridDim.y + sequence) * num_experts + e] = sum;
  }
}

struct BackwardOperands {
  int64_t num_tokens;
  RouterSequences sequences;
  int num_experts, top_k;
  const float* logits_TE;
  const int32_t* experts_TK;
  const float* d_probs_TK;
  const int32_t* aux_counts_BE;  // null: no balance loss
  float scale;
  bool normalizes;
  float aux_coefficient;
  float* d_logits_TE;
};

// A warp a token, its scores in shared memory.
__global__ __launch_bounds__(kThreads) void RouterBackwardKernel(BackwardOperands op) {
  extern __shared__ float scores_of_warps[];
  const int num_experts = op.num_experts;
  const int lane = threadIdx.x % kWarpSize;
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
  if (t >= op.num_tokens) return;
  const int32_t* const chosen = op.experts_TK + t * op.top_k;
  if (chosen[0] < 0) {
    for (int e = lane; e < num_experts; e += kWarpSize) op.d_logits_TE[t * num_experts + e] = 0;
    return;
  }
  float* const scores = scores_of_warps + threadIdx.x / kWarpSize * num_experts;
  const int32_t* const aux_counts =
      op.aux_counts_BE == nullptr
          ? nullptr
          : op.aux_counts_BE + (op.sequences.first + t) / op.sequences.length * num_experts;
  float total = 0;
  float weighted = 0;
  int counted = 0;
  for (int e = lane; e < num_experts; e += kWarpSize) {
    const float score = cuda::Sigmoid(op.logits_TE[t * num_experts + e]);
    scores[e] = score;
    total += score;
    if (aux_counts != nullptr) {
      weighted += static_cast<float>(aux_counts[e]) * score;
      counted += aux_counts[e];
    }
  }
  __syncwarp();
  float normalize = 0;
  float aux_mean = 0;
  float aux_scale = 0;
  if (aux_counts != nullptr) {
    normalize = 1.0f / (cuda::WarpSum(total) + kTiny);
    aux_mean = cuda::WarpSum(weighted) * normalize;
    aux_scale = op.aux_coefficient * static_cast<float>(num_experts) /
                static_cast<float>(cuda::WarpSum(counted));
  }

  const float* const d_probs = op.d_probs_TK + t * op.top_k;
  float selected_sum = kTiny;
  float dot = 0;
  for (int j = 0; j < op.top_k; ++j) {
    selected_sum += scores[chosen[j]];
    dot += d_probs[j] * scores[chosen[j]];
  }
  const float mean = op.normalizes ? dot / selected_sum : 0.0f;
  const float factor = op.normalizes ? op.scale / selected_sum : op.scale;
  for (int e = lane; e < num_experts; e += kWarpSize) {
    float d_score = 0;
    if (aux_counts != nullptr) {
      d_score = aux_scale * (static_cast<float>(aux_counts[e]) - aux_mean) * normalize;
    }
    for (int j = 0; j < op.top_k; ++j) {
      if (chosen[j] == e) d_score += factor * (d_probs[j] - mean);
    }
    const float score = scores[e];
    op.d_logits_TE[t * num_experts + e] = d_score * score * (1.0f - score);
  }
}

constexpr int kSumThreads = 512;

// One block, a warp a sequence.
__global__ __launch_bounds__(kSumThreads) void AddAuxLossKernel(const int32_t* counts_BE,
                                                                const float* prob_sums_BE,
                                                                int64_t num_sequences,
                                                                int num_experts, double scale,
                                                                float* loss) {
  const int lane = threadIdx.x % kWarpSize;
  double sum = 0;
  for (int64_t b = threadIdx.x / kWarpSize; b < num_sequences; b += kSumThreads / kWarpSize) {
    double weighted = 0;
    int counted = 0;
    for (int e = lane; e < num_experts; e += kWarpSize) {
      const int count = counts_BE[b * num_experts + e];
      weighted +=
          static_cast<double>(count) * static_cast<double>(prob_sums_BE[b * num_experts + e]);
      counted += count;
    }
    weighted = cuda::WarpSum(weighted);
    counted = cuda::WarpSum(counted);
    if (lane == 0 && counted > 0) sum += weighted / static_cast<double>(counted);
  }
  sum = cuda::BlockSum<kSumThreads>(sum);
  if (threadIdx.x == 0) *loss += static_cast<float>(scale * sum);
}

__global__ __launch_bounds__(kSumThreads) void UpdateBiasKernel(const double* decisions,
                                                                int64_t* counts, float* bias,
                                                                int64_t num_experts, float rate) {
  const bool moves = decisions == nullptr || decisions[kUpdateApply] != 0;
  int64_t total = 0;
  for (int64_t e = threadIdx.x; e < num_experts; e += kSumThreads) total += counts[e];
  total = cuda::BlockSum<kSumThreads>(total);
  for (int64_t e = threadIdx.x; e < num_experts; e += kSumThreads) {
    const int64_t above_mean = counts[e] * num_experts - total;
    if (moves && above_mean != 0) bias[e] += above_mean < 0 ? rate : -rate;
    counts[e] = 0;
  }
}

absl::Status FillBytes(int byte, const TensorView& view, Stream& stream) {
  if (view.num_elements() == 0) return absl::OkStatus();
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
  HETERO_RETURN_IF_CUDA_ERROR(cudaMemsetAsync(view.address(), byte, view.num_bytes(),
                                              static_cast<cudaStream_t>(stream.handle())));
  return absl::OkStatus();
}

// Rows from `first` on choose nothing: expert -1, probability 0.
absl::Status ChooseNone(const RouterForwardArgs& args, int64_t first, Stream& stream) {
  const int64_t count = args.experts_TK.dim(0) - first;
  HETERO_RETURN_IF_ERROR(FillBytes(0xff, args.experts_TK.Rows(first, count), stream));
  return FillBytes(0, args.probs_TK.Rows(first, count), stream);
}

}  // namespace

absl::Status RouterForwardCuda(const RouterForwardArgs& args, const TensorView& partials_PBE,
                               Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDType("logits_TE", args.logits_TE, DType::kF32));
  HETERO_RETURN_IF_ERROR(FillBytes(0, args.counts_E, stream));
  const bool aux = !args.aux_counts_BE.is_null();
  if (aux) HETERO_RETURN_IF_ERROR(FillBytes(0, args.aux_counts_BE, stream));
  const int64_t num_tokens = args.logits_TE.dim(0);
  const int64_t num_sequences = NumRouterSequences(args);
  const int num_experts = static_cast<int>(args.logits_TE.dim(1));
  const int top_k = static_cast<int>(args.experts_TK.dim(1));
  const int num_groups = static_cast<int>(args.groups.count);
  const RouterSequences sequences = SequencesOf(args.places, num_sequences, num_tokens);
  HETERO_RETURN_IF_ERROR(
      ChooseNone(args, sequences.Row(num_sequences * sequences.length, num_tokens), stream));
  const ForwardOperands op = {.sequences = sequences,
                              .num_rows = num_tokens,
                              .token_offsets = cuda::DataOrNull<int32_t>(args.token_offsets_B1),
                              .num_experts = num_experts,
                              .top_k = top_k,
                              .num_groups = num_groups,
                              .chosen_groups = static_cast<int>(args.groups.chosen),
                              .logits_TE = args.logits_TE.data<float>(),
                              .bias = args.expert_bias_E.data<float>(),
                              .scale = static_cast<float>(args.scale),
                              .normalizes = NormalizesProbs(args.normalized, top_k),
                              .balanced = args.balanced,
                              .experts_TK = args.experts_TK.data<int32_t>(),
                              .probs_TK = args.probs_TK.data<float>(),
                              .counts = args.counts_E.data<int32_t>(),
                              .total_counts = reinterpret_cast<unsigned long long*>(
                                  cuda::DataOrNull<int64_t>(args.total_counts_E)),
                              .aux_counts_BE = cuda::DataOrNull<int32_t>(args.aux_counts_BE),
                              .aux_parts_PBE = cuda::DataOrNull<float>(partials_PBE)};
  const cuda::LaunchShape shape = {
      .grid = {static_cast<unsigned>(NumRouterChunks(sequences.length)),
               static_cast<unsigned>(num_sequences)},
      .block = kThreads,
      .shared_bytes =
          ForwardShared::Bytes(num_experts, top_k, args.groups.limit() ? num_groups : 0)};
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(RouterForwardKernel, shape, stream, op));
  if (!aux) return absl::OkStatus();
  return cuda::FoldParts(
      partials_PBE.Reshape({partials_PBE.dim(0), args.aux_prob_sums_BE.num_elements()}),
      /*accumulate=*/false, cuda::DensePlace{args.aux_prob_sums_BE.data<float>()}, stream);
}

absl::Status RouterBackwardCuda(const RouterBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDType("logits_TE", args.logits_TE, DType::kF32));
  const int64_t num_tokens = args.logits_TE.dim(0);
  const int num_experts = static_cast<int>(args.logits_TE.dim(1));
  const bool aux = !args.aux_counts_BE.is_null();
  const BackwardOperands op = {
      .num_tokens = num_tokens,
      .sequences = SequencesOf(args.places, aux ? args.aux_counts_BE.dim(0) : 1, num_tokens),
      .num_experts = num_experts,
      .top_k = static_cast<int>(args.experts_TK.dim(1)),
      .logits_TE = args.logits_TE.data<float>(),
      .experts_TK = args.experts_TK.data<int32_t>(),
      .d_probs_TK = args.d_probs_TK.data<float>(),
      .aux_counts_BE = cuda::DataOrNull<int32_t>(args.aux_counts_BE),
      .scale = static_cast<float>(args.scale),
      .normalizes = NormalizesProbs(args.normalized, args.experts_TK.dim(1)),
      .aux_coefficient = static_cast<float>(args.aux_coefficient),
      .d_logits_TE = args.d_logits_TE.data<float>()};
  const cuda::LaunchShape shape = {
      .grid = cuda::NumBlocks(num_tokens, kWarps),
      .block = kThreads,
      .shared_bytes = sizeof(float) * kWarps * static_cast<size_t>(num_experts)};
  return HETERO_CUDA_LAUNCH(RouterBackwardKernel, shape, stream, op);
}

absl::Status AddSequenceAuxLossCuda(double coefficient, const ConstTensorView& aux_counts_BE,
                                    const ConstTensorView& aux_prob_sums_BE,
                                    const TensorView& loss_1, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDType("aux_prob_sums_BE", aux_prob_sums_BE, DType::kF32));
  const int num_experts = static_cast<int>(aux_counts_BE.dim(1));
  const cuda::LaunchShape shape = {.grid = 1, .block = kSumThreads};
  return HETERO_CUDA_LAUNCH(AddAuxLossKernel, shape, stream, aux_counts_BE.data<int32_t>(),
                            aux_prob_sums_BE.data<float>(), aux_counts_BE.dim(0), num_experts,
                            coefficient * num_experts, loss_1.data<float>());
}

absl::Status UpdateExpertBiasCuda(double rate, const ConstTensorView& decisions,
                                  const TensorView& counts_E, const TensorView& bias_E,
                                  Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDType("bias_E", bias_E, DType::kF32));
  const cuda::LaunchShape shape = {.grid = 1, .block = kSumThreads};
  return HETERO_CUDA_LAUNCH(UpdateBiasKernel, shape, stream, cuda::DataOrNull<double>(decisions),
                            counts_E.data<int64_t>(), bias_E.data<float>(), counts_E.dim(0),
                            static_cast<float>(rate));
}

}  // namespace hetero::internal
