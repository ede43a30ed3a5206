#include "hetero/models/blocks/head/head.h"

#include <string>
#include <string_view>

#include "hetero/base/status.h"
#include "hetero/models/blocks/head/linear_cross_entropy.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/exact_match/exact_match.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/norm/norm.h"

namespace hetero {
namespace {

constexpr std::string_view kNorm = "decoder.final_norm.weight";

}  // namespace

std::vector<ParameterSpec> HeadBlock::Parameters(const HeadConfig& config) {
  std::vector<ParameterSpec> specs = {{.name = std::string(kNorm),
                                       .shape = {config.vocabulary.hidden_size},
                                       .storage = config.vocabulary.storage,
                                       .init = Init::Constant(1),
                                       .partial_over_tp = true,
                                       .decay = false}};
  if (config.tied_to.empty()) specs.push_back(VocabularyMatrix(config.vocabulary, kOutputLayer));
  return specs;
}

absl::StatusOr<HeadBlock> HeadBlock::Create(const HeadConfig& config, ParameterStore& parameters,
                                            const HeadTotals& totals,
                                            Communicator* tensor_parallel) {
  HeadBlock block;
  block.norm_epsilon_ = config.norm_epsilon;
  block.logits_chunk_rows_ = config.logits_chunk_rows;
  block.sequence_ = tensor_parallel;
  HETERO_ASSIGN_OR_RETURN(block.norm_weight_H_, parameters.Find(kNorm));
  HETERO_ASSIGN_OR_RETURN(
      block.output_,
      FindVocabularyRows(parameters, config.tied_to.empty() ? kOutputLayer : config.tied_to,
                         block.sequence_));
  if (block.sequence_.rank() == 0) block.totals_ = totals;
  return block;
}

absl::StatusOr<ConstTensorView> HeadBlock::Norm(ConstTensorView hidden_RH, int64_t num_tokens,
                                                TensorView rstd_R, Stream& stream) const {
  Arena& workspace = stream.workspace();
  HETERO_ASSIGN_OR_RETURN(const TensorView normed_RH,
                          workspace.Allocate(hidden_RH.dtype(), hidden_RH.dims()));
  HETERO_RETURN_IF_ERROR(RmsNormForward({.x_TC = hidden_RH,
                                         .weight_C = norm_weight_H_->value,
                                         .y_TC = normed_RH,
                                         .rstd_T = rstd_R,
                                         .epsilon = norm_epsilon_},
                                        stream));
  return sequence_.Gather(normed_RH, num_tokens, workspace, stream, kOutputLayer);
}

absl::StatusOr<TensorView> HeadBlock::Logits(ModuleContext& context, ConstTensorView hidden_RH,
                                             int64_t num_tokens) const {
  Stream& stream = context.stream;
  const DType compute = ComputeDType(hidden_RH.dtype());
  HETERO_ASSIGN_OR_RETURN(
      const TensorView logits_TV,
      context.activations.Allocate(compute, {num_tokens, output_.parameter->value.dim(0)}));
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView rstd_R,
                          stream.workspace().Allocate(compute, {hidden_RH.dim(0)}));
  HETERO_ASSIGN_OR_RETURN(const ConstTensorView normed_TH,
                          Norm(hidden_RH, num_tokens, rstd_R, stream));
  HETERO_RETURN_IF_ERROR(
      LinearForward(normed_TH, output_.parameter->value, ConstTensorView(), logits_TV, stream));
  return logits_TV;
}

absl::Status HeadBlock::Forward(ModuleContext& context, ConstTensorView hidden_RH,
                                const TokenBatch& batch, Saved& saved) const {
  const bool training = context.mode != Mode::kEval;
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  ArenaScope scope(workspace);
  const DType dtype = hidden_RH.dtype();
  const DType compute = ComputeDType(dtype);
  saved.hidden_RH = hidden_RH;
  HETERO_ASSIGN_OR_RETURN(saved.rstd_R, context.activations.Allocate(compute, {hidden_RH.dim(0)}));
  const int64_t tokens = batch.sequences.num_tokens();
  HETERO_ASSIGN_OR_RETURN(const ConstTensorView normed_TH,
                          Norm(hidden_RH, tokens, saved.rstd_R, stream));

  const int64_t counted = batch.loss_positions.num_elements();
  HETERO_ASSIGN_OR_RETURN(const TensorView loss_N, workspace.Allocate(compute, {counted}));
  TensorView argmax_N, d_part_TH;
  saved.d_normed_RH = TensorView();
  if (training) {
    HETERO_ASSIGN_OR_RETURN(saved.d_normed_RH,
                            context.activations.Allocate(dtype, hidden_RH.dims()));
    d_part_TH = saved.d_normed_RH;
    if (!sequence_.alone()) {
      HETERO_ASSIGN_OR_RETURN(
          d_part_TH, sequence_.AllocatePart(dtype, tokens, hidden_RH.dim(1), workspace, stream));
    }
  } else {
    HETERO_ASSIGN_OR_RETURN(argmax_N, workspace.Allocate(DType::kI32, {counted}));
  }
  const WeightGradient d_output =
      training ? WeightGradientOf(context, *output_.parameter) : WeightGradient();
  HETERO_RETURN_IF_ERROR(LinearCrossEntropy({.hidden_TH = normed_TH,
                                             .weight_VH = output_.parameter->value,
                                             .first_row = output_.first_row,
                                             .vocabulary_size = output_.vocabulary_size(),
                                             .tensor_parallel = sequence_.communicator(),
                                             .rows_N = batch.loss_positions,
                                             .targets_N = batch.loss_targets,
                                             .loss_weight_N = batch.loss_weights,
                                             .loss_N = loss_N,
                                             .invalid_targets_1 = totals_.invalid_ids_1,
                                             .argmax_N = argmax_N,
                                             .d_hidden_TH = d_part_TH,
                                             .dweight_VH = d_output.view,
                                             .accumulate = d_output.accumulate,
                                             .chunk_rows = logits_chunk_rows_},
                                            stream));
  if (training) {
    HETERO_RETURN_IF_ERROR(
        sequence_.ReduceScatter(d_part_TH, saved.d_normed_RH, stream, kOutputLayer));
  }
  if (sequence_.rank() != 0) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(AddWeightedLoss(loss_N, batch.loss_weights, totals_.loss_2, stream));
  if (training) return absl::OkStatus();
  return CountExactMatches({.predicted_N = argmax_N,
                            .targets_N = batch.loss_targets,
                            .positions_N = batch.loss_positions,
                            .row_length = batch.sequences.row_length,
                            .counts_2 = totals_.matches_2},
                           stream);
}

absl::StatusOr<TensorView> HeadBlock::Backward(ModuleContext& context, const Saved& saved) const {
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_hidden_RH,
      context.stream.workspace().Allocate(saved.hidden_RH.dtype(), saved.hidden_RH.dims()));
  const WeightGradient d_norm = WeightGradientOf(context, *norm_weight_H_);
  HETERO_RETURN_IF_ERROR(RmsNormBackward({.dy_TC = saved.d_normed_RH,
                                          .x_TC = saved.hidden_RH,
                                          .weight_C = norm_weight_H_->value,
                                          .rstd_T = saved.rstd_R,
                                          .dx_TC = d_hidden_RH,
                                          .dweight_C = d_norm.view,
                                          .accumulate = d_norm.accumulate},
                                         context.stream));
  return d_hidden_RH;
}

}  // namespace hetero
