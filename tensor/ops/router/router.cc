#include "hetero/tensor/ops/router/router.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Two rows of scores: as they are, and as the selection consumes them.
constexpr int64_t kScratchRows = 2;

absl::Status ValidateGroups(const RouterGroups& groups, int64_t num_experts, int64_t top_k) {
  const auto& [count, chosen] = groups;
  if (count < 1 || num_experts % count != 0 || (count > 1 && num_experts / count < 2)) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " groups for ", num_experts,
                     " experts; expected groups of equally many, two at "
                     "least"));
  }
  if (chosen < 1 || chosen > count || top_k > chosen * (num_experts / count)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "top-k is ", top_k, " from ", chosen, " of ", count, " groups of ", num_experts / count,
        " experts; expected 1 to ", count, " groups that have as many"));
  }
  return absl::OkStatus();
}

absl::Status ValidateSequences(const RouterPlaces& places, int64_t num_sequences,
                               int64_t num_rows) {
  if (places.first < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the first row is place ", places.first, "; expected 0 or behind it"));
  }
  const int64_t num_places = internal::NumRouterPlaces(places, num_rows);
  if (num_sequences > 0 ? num_places % num_sequences == 0 : num_places == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(num_places, " tokens do not split into ",
                                                 num_sequences, " sequences of equal length"));
}

absl::Status ValidateSelection(const ConstTensorView& logits_TE, const ConstTensorView& experts_TK,
                               std::string_view probs_name, const ConstTensorView& probs_TK) {
  const DType dtype = logits_TE.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("logits_TE", logits_TE, dtype, {kAnyDim, kAnyDim}));
  const int64_t num_tokens = logits_TE.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectDense("experts_TK", experts_TK, DType::kI32, {num_tokens, kAnyDim}));
  const int64_t top_k = experts_TK.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectDense(probs_name, probs_TK, dtype, {num_tokens, top_k}));
  if (top_k >= 1 && top_k <= logits_TE.dim(1)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("top-k is ", top_k, "; expected 1 to ", logits_TE.dim(1), ", the experts"));
}

}  // namespace

absl::Status RouterForward(const RouterForwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      ValidateSelection(args.logits_TE, args.experts_TK, "probs_TK", args.probs_TK));
  const DType dtype = args.logits_TE.dtype();
  const int64_t num_tokens = args.logits_TE.dim(0);
  const int64_t num_experts = args.logits_TE.dim(1);
  if (stream.device().IsCuda() && num_experts > internal::kMaxRouterExpertsOnGpus) {
    return absl::InvalidArgumentError(absl::StrCat("logits_TE is ", args.logits_TE.ToString(),
                                                   "; a GPU chooses among at most ",
                                                   internal::kMaxRouterExpertsOnGpus, " experts"));
  }
  HETERO_RETURN_IF_ERROR(ValidateGroups(args.groups, num_experts, args.experts_TK.dim(1)));
  HETERO_RETURN_IF_ERROR(ExpectDense("expert_bias_E", args.expert_bias_E, dtype, {num_experts}));
  HETERO_RETURN_IF_ERROR(ExpectDense("counts_E", args.counts_E, DType::kI32, {num_experts}));
  if (!args.total_counts_E.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("total_counts_E", args.total_counts_E, DType::kI64, {num_experts}));
  }
  if (args.aux_counts_BE.is_null() != args.aux_prob_sums_BE.is_null()) {
    return absl::InvalidArgumentError("aux_counts_BE and aux_prob_sums_BE come together");
  }
  if (!args.token_offsets_B1.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("token_offsets_B1", args.token_offsets_B1, DType::kI32, {kAnyDim}));
  }
  const int64_t num_sequences = internal::NumRouterSequences(args);
  HETERO_RETURN_IF_ERROR(ValidateSequences(args.places, num_sequences, num_tokens));
  if (!args.aux_counts_BE.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("aux_counts_BE", args.aux_counts_BE, DType::kI32,
                                       {num_sequences, num_experts}));
    HETERO_RETURN_IF_ERROR(ExpectDense("aux_prob_sums_BE", args.aux_prob_sums_BE, dtype,
                                       {num_sequences, num_experts}));
  }
  ArenaScope scratch_scope(stream.workspace());
  TensorView scratch, partials;
  if (!stream.device().IsCuda()) {
    const int64_t group_rows = args.groups.limit() ? 1 : 0;
    HETERO_ASSIGN_OR_RETURN(
        scratch, stream.workspace().Allocate(dtype, {kScratchRows + group_rows, num_experts}));
  } else if (!args.aux_counts_BE.is_null()) {
    const int64_t num_chunks = internal::NumRouterChunks(
        internal::SequencesOf(args.places, num_sequences, num_tokens).length);
    HETERO_ASSIGN_OR_RETURN(
        partials, stream.workspace().Allocate(dtype, {num_chunks, num_sequences, num_experts}));
  }
  const double elements = static_cast<double>(args.logits_TE.num_elements());
  OperationScope scope(
      stream, {"router.forward", elements * (10.0 + 2.0 * args.probs_TK.dim(1)),
               static_cast<double>(args.logits_TE.num_bytes() + args.experts_TK.num_bytes() +
                                   args.probs_TK.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::RouterForwardCpu(args, scratch),
                         internal::RouterForwardCuda(args, partials, stream));
}

absl::Status RouterBackward(const RouterBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      ValidateSelection(args.logits_TE, args.experts_TK, "d_probs_TK", args.d_probs_TK));
  const DType dtype = args.logits_TE.dtype();
  const int64_t num_tokens = args.logits_TE.dim(0);
  const int64_t num_experts = args.logits_TE.dim(1);
  HETERO_RETURN_IF_ERROR(
      ExpectDense("d_logits_TE", args.d_logits_TE, dtype, {num_tokens, num_experts}));
  if (!args.aux_counts_BE.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("aux_counts_BE", args.aux_counts_BE, DType::kI32, {kAnyDim, num_experts}));
    HETERO_RETURN_IF_ERROR(ValidateSequences(args.places, args.aux_counts_BE.dim(0), num_tokens));
  }
  ArenaScope scratch_scope(stream.workspace());
  TensorView scratch;
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(scratch,
                            stream.workspace().Allocate(dtype, {kScratchRows, num_experts}));
  }
  OperationScope scope(
      stream, {"router.backward", 14.0 * static_cast<double>(args.logits_TE.num_elements()),
               static_cast<double>(2 * args.logits_TE.num_bytes() + args.experts_TK.num_bytes() +
                                   args.d_probs_TK.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::RouterBackwardCpu(args, scratch),
                         internal::RouterBackwardCuda(args, stream));
}

absl::Status AddSequenceAuxLoss(double coefficient, ConstTensorView aux_counts_BE,
                                ConstTensorView aux_prob_sums_BE, TensorView loss_1,
                                Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      ExpectDense("aux_counts_BE", aux_counts_BE, DType::kI32, {kAnyDim, kAnyDim}));
  const DType dtype = aux_prob_sums_BE.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("aux_prob_sums_BE", aux_prob_sums_BE, dtype,
                                     {aux_counts_BE.dim(0), aux_counts_BE.dim(1)}));
  HETERO_RETURN_IF_ERROR(ExpectDense("loss_1", loss_1, dtype, {1}));
  OperationScope scope(
      stream, {"router.aux_loss", 2.0 * static_cast<double>(aux_counts_BE.num_elements()),
               static_cast<double>(aux_counts_BE.num_bytes() + aux_prob_sums_BE.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream, internal::AddSequenceAuxLossCpu(coefficient, aux_counts_BE, aux_prob_sums_BE, loss_1),
      internal::AddSequenceAuxLossCuda(coefficient, aux_counts_BE, aux_prob_sums_BE, loss_1,
                                       stream));
}

absl::Status UpdateExpertBias(double rate, ConstTensorView decisions, TensorView counts_E,
                              TensorView bias_E, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("counts_E", counts_E, DType::kI64, {kAnyDim}));
  if (!decisions.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("decisions", decisions, DType::kF64, {kNumUpdateDecisions}));
  }
  HETERO_RETURN_IF_ERROR(ExpectDense("bias_E", bias_E, bias_E.dtype(), {counts_E.dim(0)}));
  OperationScope scope(stream,
                       {"router.update_bias", 3.0 * static_cast<double>(bias_E.num_elements()),
                        static_cast<double>(2 * (counts_E.num_bytes() + bias_E.num_bytes()))});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::UpdateExpertBiasCpu(rate, decisions, counts_E, bias_E),
                         internal::UpdateExpertBiasCuda(rate, decisions, counts_E, bias_E, stream));
}

}  // namespace hetero
