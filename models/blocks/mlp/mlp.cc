#include "hetero/models/blocks/mlp/mlp.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/tensor/ops/activation/activation.h"

namespace hetero {

std::vector<ParameterSpec> MlpBlock::Parameters(const MlpConfig& config, std::string_view prefix) {
  const auto name = [&](std::string_view suffix) { return absl::StrCat(prefix, "mlp.", suffix); };
  const DimSharding by_width = {.axis = ShardAxis::kTp};
  std::vector<ParameterSpec> specs = {{.name = name("linear_fc1.layer_norm_weight"),
                                       .shape = {config.hidden_size},
                                       .storage = config.storage,
                                       .init = Init::Constant(1),
                                       .partial_over_tp = true,
                                       .decay = false},
                                      {.name = name("linear_fc1.weight"),
                                       .shape = {config.ffn_size, config.hidden_size},
                                       .storage = config.storage,
                                       .init = Init::Normal(config.init_std),
                                       .dims = {by_width, {}}},
                                      {.name = name("linear_fc2.weight"),
                                       .shape = {config.hidden_size, config.ffn_size},
                                       .storage = config.storage,
                                       .init = Init::Normal(config.output_init_std),
                                       .dims = {{}, by_width}}};
  if (config.use_bias) {
    specs.push_back(BiasOf(name("linear_fc1.bias"), config.ffn_size, by_width, config.storage));
    specs.push_back(BiasOf(name("linear_fc2.bias"), config.hidden_size, {}, config.storage));
  }
  return specs;
}

absl::StatusOr<MlpBlock> MlpBlock::Create(const MlpConfig& config, std::string_view prefix,
                                          ParameterStore& parameters,
                                          Communicator* tensor_parallel) {
  MlpBlock block;
  block.norm_epsilon_ = config.norm_epsilon;
  HETERO_ASSIGN_OR_RETURN(block.norm_weight_H_, parameters.Find(absl::StrCat(
                                                    prefix, "mlp.linear_fc1.layer_norm_weight")));
  HETERO_ASSIGN_OR_RETURN(Parameter* const w1_FH,
                          parameters.Find(absl::StrCat(prefix, "mlp.linear_fc1.weight")));
  HETERO_ASSIGN_OR_RETURN(Parameter* const w2_HF,
                          parameters.Find(absl::StrCat(prefix, "mlp.linear_fc2.weight")));
  Parameter* b1_F = nullptr;
  Parameter* b2_H = nullptr;
  if (config.use_bias) {
    HETERO_ASSIGN_OR_RETURN(b1_F, parameters.Find(absl::StrCat(prefix, "mlp.linear_fc1.bias")));
    HETERO_ASSIGN_OR_RETURN(b2_H, parameters.Find(absl::StrCat(prefix, "mlp.linear_fc2.bias")));
  }
  block.w1_FH_ = ColumnLinear(tensor_parallel, w1_FH, b1_F);
  block.w2_HF_ = RowLinear(tensor_parallel, w2_HF, b2_H);
  return block;
}

absl::StatusOr<TensorView> MlpBlock::Forward(ModuleContext& context, ConstTensorView hidden_RH,
                                             const SequenceBatch& batch, Saved& saved) const {
  ArenaScope scope(context.stream.workspace());
  saved.hidden_RH = hidden_RH;
  HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                          NormHidden(context, hidden_RH, *norm_weight_H_, norm_epsilon_));
  saved.normed_RH = normed.normed_TH;
  saved.rstd_R = normed.rstd_T;
  const int64_t inner_TF[] = {batch.num_tokens(), w1_FH_.width()};
  HETERO_ASSIGN_OR_RETURN(saved.inner_TF,
                          context.activations.Allocate(hidden_RH.dtype(), inner_TF));
  HETERO_ASSIGN_OR_RETURN(saved.activated_TF,
                          context.brief().Allocate(hidden_RH.dtype(), inner_TF));
  HETERO_RETURN_IF_ERROR(w1_FH_.Forward(context, saved.normed_RH, saved.inner_TF));
  HETERO_RETURN_IF_ERROR(
      SquaredReluForward(saved.inner_TF, {}, saved.activated_TF, context.stream));
  HETERO_ASSIGN_OR_RETURN(const TensorView out_RH,
                          w2_HF_.Forward(context, saved.activated_TF, hidden_RH));
  if (context.selective_recompute) saved.normed_RH = saved.activated_TF = {};
  return out_RH;
}

absl::StatusOr<MlpBlock::Saved> MlpBlock::Complete(ModuleContext& context,
                                                   const Saved& kept) const {
  Saved saved = kept;
  if (!kept.normed_RH.is_null()) return saved;
  HETERO_ASSIGN_OR_RETURN(saved.normed_RH, NormHiddenAgain(context, kept.hidden_RH, kept.rstd_R,
                                                           *norm_weight_H_, norm_epsilon_));
  HETERO_ASSIGN_OR_RETURN(saved.activated_TF, context.recomputed().Allocate(kept.inner_TF.dtype(),
                                                                            kept.inner_TF.dims()));
  HETERO_RETURN_IF_ERROR(SquaredReluForward(kept.inner_TF, {}, saved.activated_TF, context.stream));
  return saved;
}

absl::Status MlpBlock::Backward(ModuleContext& context, const Saved& kept,
                                TensorView d_hidden_RH) const {
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const Saved saved, Complete(context, kept));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_TF,
                          w2_HF_.Backward(context, d_hidden_RH, saved.activated_TF));
  HETERO_RETURN_IF_ERROR(SquaredReluBackward(
      {.da_TF = d_inner_TF, .f_TF = saved.inner_TF, .df_TF = d_inner_TF}, context.stream));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_RH,
                          w1_FH_.Backward(context, d_inner_TF, saved.normed_RH));
  return NormHiddenBackward(context, d_normed_RH, saved.hidden_RH, saved.rstd_R, *norm_weight_H_,
                            d_hidden_RH);
}

}  // namespace hetero
