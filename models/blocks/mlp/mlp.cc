#include "hetero/models/blocks/mlp/mlp.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/gemm/gemm.h"

namespace hetero {

std::vector<ParameterSpec> MlpBlock::Parameters(const MlpConfig& config, std::string_view prefix) {
  const auto name = [&](std::string_view suffix) { return absl::StrCat(prefix, "mlp.", suffix); };
  return {{.name = name("linear_fc1.layer_norm_weight"),
           .shape = {config.hidden_size},
           .storage = config.storage,
           .init = Init::Constant(1),
           .partial_over_tp = true,
           .decay = false},
          {.name = name("linear_fc1.weight"),
           .shape = {config.ffn_size, config.hidden_size},
           .storage = config.storage,
           .init = Init::Normal(config.init_std),
           .dims = {{ShardAxis::kTp, {}}, {}}},
          {.name = name("linear_fc2.weight"),
           .shape = {config.hidden_size, config.ffn_size},
           .storage = config.storage,
           .init = Init::Normal(config.output_init_std),
           .dims = {{}, {ShardAxis::kTp, {}}}}};
}

absl::StatusOr<MlpBlock> MlpBlock::Create(const MlpConfig& config, std::string_view prefix,
                                          ParameterStore& parameters,
                                          Communicator* tensor_parallel) {
  if (tensor_parallel != nullptr) {
    return absl::UnimplementedError("an MLP block runs on one tensor-parallel rank; set tp to 1");
  }
  MlpBlock block;
  block.config_ = config;
  HETERO_ASSIGN_OR_RETURN(block.norm_weight_H_, parameters.Find(absl::StrCat(
                                                    prefix, "mlp.linear_fc1.layer_norm_weight")));
  HETERO_ASSIGN_OR_RETURN(block.w1_FH_,
                          parameters.Find(absl::StrCat(prefix, "mlp.linear_fc1.weight")));
  HETERO_ASSIGN_OR_RETURN(block.w2_HF_,
                          parameters.Find(absl::StrCat(prefix, "mlp.linear_fc2.weight")));
  return block;
}

absl::StatusOr<TensorView> MlpBlock::Forward(ModuleContext& context, ConstTensorView hidden_TH,
                                             const SequenceBatch&, Saved& saved) const {
  saved.hidden_TH = hidden_TH;
  HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                          NormHidden(context, hidden_TH, *norm_weight_H_, config_.norm_epsilon));
  saved.normed_TH = normed.normed_TH;
  saved.rstd_T = normed.rstd_T;
  const int64_t tokens = hidden_TH.dim(0);
  HETERO_ASSIGN_OR_RETURN(saved.inner_TF, context.activations.Allocate(
                                              hidden_TH.dtype(), {tokens, w1_FH_->value.dim(0)}));
  HETERO_ASSIGN_OR_RETURN(
      saved.activated_TF,
      context.activations.Allocate(hidden_TH.dtype(), {tokens, w1_FH_->value.dim(0)}));
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.normed_TH, w1_FH_->value, {}, saved.inner_TF, context.stream));
  HETERO_RETURN_IF_ERROR(
      SquaredReluForward(saved.inner_TF, {}, saved.activated_TF, context.stream));
  return ProjectToHidden(context, saved.activated_TF, *w2_HF_, hidden_TH);
}

absl::Status MlpBlock::Backward(ModuleContext& context, const Saved& saved,
                                TensorView d_hidden_TH) const {
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_inner_TF,
      ProjectToHiddenBackward(context, d_hidden_TH, saved.activated_TF, *w2_HF_));
  HETERO_RETURN_IF_ERROR(SquaredReluBackward(
      {.da_TF = d_inner_TF, .f_TF = saved.inner_TF, .df_TF = d_inner_TF}, context.stream));
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_inner_TF, saved.normed_TH, *w1_FH_));
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_normed_TH,
      context.stream.workspace().Allocate(d_hidden_TH.dtype(), d_hidden_TH.dims()));
  HETERO_RETURN_IF_ERROR(LinearBackwardInput(d_inner_TF, w1_FH_->value, d_normed_TH,
                                             /*accumulate=*/false, context.stream));
  return NormHiddenBackward(context, d_normed_TH, saved.hidden_TH, saved.rstd_T, *norm_weight_H_,
                            d_hidden_TH);
}

}  // namespace hetero
