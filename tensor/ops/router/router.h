#ifndef HETERO_TENSOR_OPS_ROUTER_ROUTER_H_
#define HETERO_TENSOR_OPS_ROUTER_ROUTER_H_

// Token-choice router of a mixture-of-experts layer with sigmoid scores, a selection bias without
// gradient (Wang et al., arXiv:2408.15664) and a balance loss per sequence (DeepSeek-V3,
// arXiv:2412.19437, section 2.1.2).
//
//   s = sigmoid(logits), selection: the K largest s + bias, ties to the lower expert,
//   p_e = scale * s_e / (sum of the selected s + 1e-20), or p_e = scale * s_e.
//
// With groups only the experts of some compete: of those whose two largest s + bias have the
// largest sums, ties to the lower group (DeepSeek-V3, section 2.1.2).
//
// T rows, E experts, K experts a token, B sequences. A sequence has as many consecutive places as
// any other and may end with padding. Row t is place RouterPlaces::first + t of all sequences, or
// padding behind the last of them. "Compute type" is the type of the logits, f32 or, on the CPU,
// f64.
// All tensors are dense. T = 0 is legal.

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Which places of the sequences the rows are: all of them, or this rank's part.
struct RouterPlaces {
  int64_t first = 0;
  int64_t num_all = 0;  // of all sequences together; 0: as many as there are rows
};

// `count` groups of E / count consecutive experts each, two at least, of which a token chooses from
// `chosen`, which have K experts at least.
struct RouterGroups {
  int64_t count = 1;
  int64_t chosen = 1;

  // Whether some expert may not compete.
  bool limit() const { return chosen < count; }
};

// One pass over the logits: scores, selection, probabilities and counts; with the aux outputs also
// what the balance loss sums, P_te = s_te / (sum over all experts + 1e-20) per sequence and how
// often an expert is among the K largest P, that is, without bias and whatever its group.
struct RouterForwardArgs {
  ConstTensorView logits_TE;
  ConstTensorView expert_bias_E;  // compute type
  // i32, ascending from 0: sequence b has token_offsets[b + 1] - token_offsets[b] tokens, and
  // behind them padding, which chooses no expert and is counted nowhere. Null: no padding.
  ConstTensorView token_offsets_B1;
  RouterPlaces places;
  RouterGroups groups;
  double scale = 1;
  std::optional<bool> normalized;  // p is divided by the sum; unset: with K > 1
  bool balanced = false;        // the n-th token takes experts (n K + j) mod E, j < K, not the best
  TensorView experts_TK;        // i32, ascending in each row; -1 for padding
  TensorView probs_TK;          // compute type; 0 for padding
  TensorView counts_E;          // i32, overwritten: tokens per expert
  TensorView total_counts_E;    // i64, added to; null: this pass is not counted
  TensorView aux_counts_BE;     // i32, overwritten, of these rows; null: no balance loss
  TensorView aux_prob_sums_BE;  // compute type, overwritten; null exactly with aux_counts_BE
};
// Errors: INVALID_ARGUMENT naming the operand; K > E; more than 2048 experts on a GPU; groups that
// are not as said; places not a multiple of B, or before the first; offsets and aux outputs of
// different B.
absl::Status RouterForward(const RouterForwardArgs& args, Stream& stream);

// With n_be = aux_counts_be, the balance loss of a sequence of S_b tokens is
//
//   L_b = E c / (K S_b²) Σ_e n_be Σ_t P_te,   c when the load is uniform.
//
// It enters the step's loss as S_b L_b, like the losses of S_b tokens: the division by the number
// of loss tokens that follows turns the sum into a mean, in which every token has the same weight
// whatever batch it is in. A token is counted K times, so S_b is Σ_e n_be / K.

// d_logits = (d probs / d logits)' d_probs, and on all columns the balance loss' part: the gradient
// of Σ_b S_b L_b with the counts taken as constants. Zero for padding.
struct RouterBackwardArgs {
  ConstTensorView logits_TE;
  ConstTensorView experts_TK;  // i32; -1 for padding
  ConstTensorView d_probs_TK;  // compute type
  RouterPlaces places;
  double scale = 1;
  std::optional<bool> normalized;  // as forward
  ConstTensorView
      aux_counts_BE;           // i32, summed over the shards of a sequence; null: no balance loss
  double aux_coefficient = 0;  // c
  TensorView d_logits_TE;      // overwritten
};
absl::Status RouterBackward(const RouterBackwardArgs& args, Stream& stream);

// loss_1 += Σ_b S_b L_b. With sequences sharded over ranks `aux_prob_sums_BE` may be this rank's
// part: the sum of loss_1 over the ranks is then that of the whole. aux_counts_BE is the whole
// count.
absl::Status AddSequenceAuxLoss(double coefficient, ConstTensorView aux_counts_BE,
                                ConstTensorView aux_prob_sums_BE, TensorView loss_1,
                                Stream& stream);

// bias_e += rate * sign(mean(counts) - counts_e) with sign(0) = 0, if the step applies; then
// counts_e = 0. counts_E is i64, summed over all ranks that share the bias; bias_E is f32 or f64;
// `decisions` is of DecideUpdate, null: the bias moves whatever became of the step.
absl::Status UpdateExpertBias(double rate, ConstTensorView decisions, TensorView counts_E,
                              TensorView bias_E, Stream& stream);

namespace internal {

// Keeps what is divided by a sum of scores finite.
inline constexpr double kRouterTiny = 1e-20;

inline bool NormalizesProbs(std::optional<bool> normalized, int64_t top_k) {
  return normalized.value_or(top_k > 1);
}

// B; one sequence where nothing says how many.
inline int64_t NumRouterSequences(const RouterForwardArgs& args) {
  if (!args.token_offsets_B1.is_null()) return args.token_offsets_B1.dim(0) - 1;
  return args.aux_counts_BE.is_null() ? 1 : args.aux_counts_BE.dim(0);
}

// Row 0 is place `first` of `count` sequences of `length` places.
struct RouterSequences {
  int64_t count = 0;
  int64_t length = 0;
  int64_t first = 0;

  // Where a place is among T rows, clipped to them.
  int64_t Row(int64_t place, int64_t num_rows) const {
    return std::clamp(place - first, int64_t{0}, num_rows);
  }
};
inline int64_t NumRouterPlaces(const RouterPlaces& places, int64_t num_rows) {
  return places.num_all > 0 ? places.num_all : num_rows;
}
inline RouterSequences SequencesOf(const RouterPlaces& places, int64_t count, int64_t num_rows) {
  return {.count = count,
          .length = count == 0 ? 0 : NumRouterPlaces(places, num_rows) / count,
          .first = places.first};
}

// A third row of scratch where groups limit.
absl::Status RouterForwardCpu(const RouterForwardArgs& args, TensorView scratch_2E);
absl::Status RouterBackwardCpu(const RouterBackwardArgs& args, TensorView scratch_2E);
absl::Status AddSequenceAuxLossCpu(double coefficient, ConstTensorView aux_counts_BE,
                                   ConstTensorView aux_prob_sums_BE, TensorView loss_1);
absl::Status UpdateExpertBiasCpu(double rate, ConstTensorView decisions, TensorView counts_E,
                                 TensorView bias_E);

inline constexpr int64_t kMaxRouterExpertsOnGpus = 2048;

// Tokens of one sequence that a GPU's block does.
inline constexpr int64_t kRouterChunk = 32;
constexpr int64_t NumRouterChunks(int64_t tokens_per_sequence) {
  return CeilDiv(tokens_per_sequence, kRouterChunk);
}
// `partials_PBE` f32 [NumRouterChunks(places of a sequence), B, E]: scratch; null without a balance
// loss. f32 only.
absl::Status RouterForwardCuda(const RouterForwardArgs& args, const TensorView& partials_PBE,
                               Stream& stream);
absl::Status RouterBackwardCuda(const RouterBackwardArgs& args, Stream& stream);
absl::Status AddSequenceAuxLossCuda(double coefficient, const ConstTensorView& aux_counts_BE,
                                    const ConstTensorView& aux_prob_sums_BE,
                                    const TensorView& loss_1, Stream& stream);
absl::Status UpdateExpertBiasCuda(double rate, const ConstTensorView& decisions,
                                  const TensorView& counts_E, const TensorView& bias_E,
                                  Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ROUTER_ROUTER_H_
