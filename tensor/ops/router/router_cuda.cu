#include <cstdint>

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
constexpr auto kTiny = static_cast<float>(kRouterTiny);

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

}  // namespace

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
