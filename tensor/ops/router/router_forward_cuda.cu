#include <cstdint>

#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/router/router.h"
#include "hetero/tensor/ops/router/router_select.cuh"
#include "hetero/tensor/validate.h"

namespace hetero::internal {
namespace {

constexpr auto kTiny = static_cast<float>(kRouterTiny);

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

constexpr int kMaxPerLane = kMaxRouterExpertsOnGpus / kWarpSize;
constexpr int kForwardWarps = 16;
constexpr int kForwardThreads = kForwardWarps * kWarpSize;

// Shared memory of a block: for each warp its scores and in the end the sums of P of its tokens,
// its choices and, where groups limit, what it selects from and their scores; for the block how
// often an expert was chosen, with bias and without.
struct ForwardShared {
  float* scores;  // of warp 0 before the others'; those of this warp are `own_scores`
  float* own_scores;
  int* counts;
  int* aux_counts;
  int32_t* chosen;
  float* selectable;
  float* group_scores;

  __device__ ForwardShared(float* memory, int num_experts, int top_k, int num_groups) {
    const int warp = threadIdx.x / kWarpSize;
    scores = memory;
    own_scores = scores + warp * num_experts;
    counts = reinterpret_cast<int*>(scores + kForwardWarps * num_experts);
    aux_counts = counts + num_experts;
    int32_t* const all_chosen = aux_counts + num_experts;
    chosen = all_chosen + warp * top_k;
    float* const limiting = reinterpret_cast<float*>(all_chosen + kForwardWarps * top_k);
    selectable = limiting + warp * num_experts;
    group_scores = limiting + kForwardWarps * num_experts + warp * num_groups;
  }
  static size_t Bytes(size_t num_experts, size_t top_k, size_t limiting_groups) {
    const size_t limiting = limiting_groups == 0 ? 0 : num_experts + limiting_groups;
    return sizeof(float) * (2 * num_experts + kForwardWarps * (num_experts + top_k + limiting));
  }
};

// Rows of a block, all of one sequence.
struct ChunkRows {
  int64_t begin, end;  // tokens
  int64_t last;        // and padding behind them
  int64_t first;       // of the sequence; may be before the first row
  int64_t tokens_before;

  __device__ explicit ChunkRows(const ForwardOperands& op) {
    const int64_t sequence = blockIdx.y, length = op.sequences.length;
    const int64_t first_place = sequence * length;
    const bool padded = op.token_offsets != nullptr;
    tokens_before = padded ? op.token_offsets[sequence] : first_place;
    const int64_t tokens = padded ? op.token_offsets[sequence + 1] - tokens_before : length;
    first = first_place - op.sequences.first;
    const int64_t from = first + blockIdx.x * kRouterChunk;
    begin = max(int64_t{0}, from);
    last = min(op.num_rows, min(from + kRouterChunk, first + length));
    end = max(begin, min(last, first + tokens));
  }
};

// Adds a block's counts, sums of integers without an order, and stores its sums of P.
__device__ void StoreChunk(const ForwardOperands& op, const ForwardShared& shared) {
  const int num_experts = op.num_experts;
  for (int e = threadIdx.x; e < num_experts; e += kForwardThreads) {
    if (const int count = shared.counts[e]; count > 0) {
      atomicAdd(op.counts + e, count);
      if (op.total_counts != nullptr) {
        atomicAdd(op.total_counts + e, static_cast<unsigned long long>(count));
      }
    }
    if (op.aux_counts_BE == nullptr) continue;
    if (const int count = shared.aux_counts[e]; count > 0) {
      atomicAdd(op.aux_counts_BE + int64_t{blockIdx.y} * num_experts + e, count);
    }
    float sum = 0;
    for (int warp = 0; warp < kForwardWarps; ++warp) sum += shared.scores[warp * num_experts + e];
    const int64_t part = int64_t{blockIdx.x} * gridDim.y + blockIdx.y;
    op.aux_parts_PBE[part * num_experts + e] = sum;
  }
}

// A warp's choice of a token's experts, in shared.chosen; `score` are those of the lane.
template <int kPerLane>
__device__ void Choose(const ForwardOperands& op, const ForwardShared& shared,
                       const ChunkRows& rows, int64_t t, const float (&score)[kPerLane],
                       Selection<kPerLane>& selection) {
  const int lane = threadIdx.x % kWarpSize;
  const int num_experts = op.num_experts;
  if (op.balanced) {
    // Of K consecutive numbers modulo E, those that wrapped around are the small ones.
    const int from =
        static_cast<int>((rows.tokens_before + t - rows.first) * op.top_k % num_experts);
    const int wrapped = max(0, from + op.top_k - num_experts);
    for (int j = lane; j < op.top_k; j += kWarpSize) {
      shared.chosen[j] = j < wrapped ? j : from + j - wrapped;
    }
  } else {
    if (op.chosen_groups < op.num_groups) {
      for (int e = lane; e < num_experts; e += kWarpSize) {
        shared.selectable[e] = shared.own_scores[e] + op.bias[e];
      }
      __syncwarp();
      LimitToGroups(shared.selectable, num_experts, op.num_groups, op.chosen_groups,
                    shared.group_scores);
      selection.Fill([&](int, int e) { return shared.selectable[e]; });
    } else {
      selection.Fill([&](int i, int e) { return score[i] + __ldg(op.bias + e); });
    }
    selection.Take(op.top_k);
    selection.VisitTaken([&](int e, int slot) { shared.chosen[slot] = e; });
  }
  __syncwarp();
}

// A block a chunk, a warp every kForwardWarps-th of its tokens.
template <int kPerLane>
__global__ __launch_bounds__(kForwardThreads) void RouterForwardKernel(ForwardOperands op) {
  extern __shared__ float memory[];
  const int num_experts = op.num_experts;
  const ForwardShared shared(memory, num_experts, op.top_k, op.num_groups);
  const int lane = threadIdx.x % kWarpSize;
  const bool aux = op.aux_counts_BE != nullptr;
  const ChunkRows rows(op);
  for (int i = threadIdx.x; i < 2 * num_experts; i += kForwardThreads) shared.counts[i] = 0;
  for (int64_t i = rows.end * op.top_k + threadIdx.x; i < rows.last * op.top_k;
       i += kForwardThreads) {
    op.experts_TK[i] = -1;
    op.probs_TK[i] = 0;
  }
  __syncthreads();

  float prob_sums[kPerLane] = {};
  Selection<kPerLane> selection(num_experts);
  for (int64_t t = rows.begin + threadIdx.x / kWarpSize; t < rows.end; t += kForwardWarps) {
    float score[kPerLane];
    float total = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int e = i * kWarpSize + lane;
      if (e >= num_experts) continue;
      score[i] = cuda::Sigmoid(op.logits_TE[t * num_experts + e]);
      shared.own_scores[e] = score[i];
      total += score[i];
    }
    if (aux) {
      const float normalize = 1.0f / (cuda::WarpSum(total) + kTiny);
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        if (i * kWarpSize + lane < num_experts) prob_sums[i] += score[i] * normalize;
      }
      selection.Fill([&](int i, int) { return score[i]; });
      selection.Take(op.top_k);
      selection.VisitTaken([&](int e, int) { atomicAdd(shared.aux_counts + e, 1); });
    }
    __syncwarp();
    Choose(op, shared, rows, t, score, selection);
    float selected_sum = 0;
    for (int j = 0; j < op.top_k; ++j) selected_sum += shared.own_scores[shared.chosen[j]];
    const float factor = op.normalizes ? op.scale / (selected_sum + kTiny) : op.scale;
    for (int j = lane; j < op.top_k; j += kWarpSize) {
      const int32_t expert = shared.chosen[j];
      op.experts_TK[t * op.top_k + j] = expert;
      op.probs_TK[t * op.top_k + j] = factor * shared.own_scores[expert];
      atomicAdd(shared.counts + expert, 1);
    }
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int e = i * kWarpSize + lane;
    if (e < num_experts) shared.own_scores[e] = prob_sums[i];
  }
  __syncthreads();
  StoreChunk(op, shared);
}

template <int kPerLane>
absl::Status LaunchForward(const ForwardOperands& op, const cuda::LaunchShape& shape,
                           Stream& stream) {
  return HETERO_CUDA_LAUNCH(RouterForwardKernel<kPerLane>, shape, stream, op);
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
      .block = kForwardThreads,
      .shared_bytes =
          ForwardShared::Bytes(num_experts, top_k, args.groups.limit() ? num_groups : 0)};
  HETERO_RETURN_IF_ERROR(num_experts <= kWarpSize       ? LaunchForward<1>(op, shape, stream)
                         : num_experts <= 4 * kWarpSize ? LaunchForward<4>(op, shape, stream)
                         : num_experts <= 16 * kWarpSize
                             ? LaunchForward<16>(op, shape, stream)
                             : LaunchForward<kMaxPerLane>(op, shape, stream));
  if (!aux) return absl::OkStatus();
  return cuda::FoldParts(
      partials_PBE.Reshape({partials_PBE.dim(0), args.aux_prob_sums_BE.num_elements()}),
      /*accumulate=*/false, cuda::DensePlace{args.aux_prob_sums_BE.data<float>()}, stream);
}

}  // namespace hetero::internal
