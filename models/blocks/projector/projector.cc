#include "hetero/models/blocks/projector/projector.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/norm/norm.h"

namespace hetero {
namespace {

constexpr std::string_view kAffine = "encoder.weight";
constexpr std::string_view kNorm = "encoder.linear_fc1.layer_norm_weight";
constexpr std::string_view kFc1 = "encoder.linear_fc1.weight";
constexpr std::string_view kFc2 = "encoder.linear_fc2.weight";

}  // namespace

std::vector<ParameterSpec> Projector::Parameters(const ProjectorConfig& config,
                                                 std::string_view prefix, int stage) {
  std::vector<ParameterSpec> specs;
  const auto matrix = [&](std::string_view name, int64_t rows, int64_t columns, double std,
                          std::vector<DimSharding> dims) {
    specs.push_back({.name = absl::StrCat(prefix, name),
                     .shape = {rows, columns},
                     .storage = config.storage,
                     .init = Init::Normal(std),
                     .dims = std::move(dims),
                     .stage = stage,
                     .layer = kLastLayer});
  };
  const DimSharding whole, sharded{ShardAxis::kTp, {}};
  if (config.kind == ProjectorConfig::Kind::kAffine) {
    matrix(kAffine, config.output_size, config.input_size, config.init_std, {sharded, whole});
    return specs;
  }
  if (config.rms_norm) {
    specs.push_back({.name = absl::StrCat(prefix, kNorm),
                     .shape = {config.input_size},
                     .storage = config.storage,
                     .init = Init::Constant(1),
                     .partial_over_tp = true,
                     .decay = false,
                     .stage = stage,
                     .layer = kLastLayer});
  }
  matrix(kFc1, config.ffn_size, config.input_size, config.init_std, {sharded, whole});
  matrix(kFc2, config.output_size, config.ffn_size, config.output_init_std, {whole, sharded});
  return specs;
}

absl::StatusOr<Projector> Projector::Create(const ProjectorConfig& config, std::string_view prefix,
                                            ParameterStore& parameters, SequenceParallel sequence) {
  const auto find = [&](std::string_view name) {
    return parameters.Find(absl::StrCat(prefix, name));
  };
  Projector projector;
  projector.config_ = config;
  projector.sequence_ = sequence;
  if (config.kind == ProjectorConfig::Kind::kAffine) {
    if (config.rms_norm) {
      return absl::InvalidArgumentError(
          "an affine projector has no norm; take the mlp kind, or no norm");
    }
    HETERO_RETURN_IF_ERROR(sequence.CheckDivides("output_size", config.output_size)).With(prefix);
    HETERO_ASSIGN_OR_RETURN(Parameter* const weight_HD, find(kAffine));
    projector.fc1_ = ColumnLinear(sequence, weight_HD);
    return projector;
  }
  HETERO_RETURN_IF_ERROR(sequence.CheckDivides("ffn_size", config.ffn_size)).With(prefix);
  if (config.rms_norm) {
    HETERO_ASSIGN_OR_RETURN(projector.norm_weight_D_, find(kNorm));
  }
  HETERO_ASSIGN_OR_RETURN(Parameter* const w1_FD, find(kFc1));
  HETERO_ASSIGN_OR_RETURN(Parameter* const w2_HF, find(kFc2));
  projector.fc1_ = ColumnLinear(sequence, w1_FD);
  projector.fc2_ = RowLinear(sequence, w2_HF);
  return projector;
}

absl::StatusOr<TensorView> Projector::Forward(ModuleContext& context, ConstTensorView input_RD,
                                              int64_t num_rows, Saved& saved) const {
  Stream& stream = context.stream;
  Arena& arena = context.activations;
  const DType dtype = input_RD.dtype();
  HETERO_ASSIGN_OR_RETURN(const TensorView output_RH,
                          arena.Allocate(dtype, {input_RD.dim(0), config_.output_size}));
  std::optional<ArenaScope> kept_by_nobody;
  if (context.mode == Mode::kEval) kept_by_nobody.emplace(arena);

  ArenaScope scope(stream.workspace());
  saved.num_rows = num_rows;
  saved.input_RD = input_RD;
  saved.normed_RD = input_RD;
  if (config_.kind == ProjectorConfig::Kind::kAffine) {
    HETERO_RETURN_IF_ERROR(ForwardAffine(context, saved, output_RH));
    return output_RH;
  }
  if (norm_weight_D_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                            NormHidden(context, input_RD, *norm_weight_D_, config_.norm_epsilon));
    saved.normed_RD = normed.normed_TH;
    saved.rstd_R = normed.rstd_T;
  }
  HETERO_ASSIGN_OR_RETURN(saved.inner_NF, arena.Allocate(dtype, {num_rows, fc1_.width()}));
  HETERO_ASSIGN_OR_RETURN(saved.activated_NF,
                          context.brief().Allocate(dtype, {num_rows, fc1_.width()}));
  HETERO_RETURN_IF_ERROR(fc1_.Forward(context, saved.normed_RD, saved.inner_NF));
  HETERO_RETURN_IF_ERROR(SquaredReluForward(saved.inner_NF, {}, saved.activated_NF, stream));
  HETERO_RETURN_IF_ERROR(fc2_.Product(context, saved.activated_NF, output_RH));
  if (context.selective_recompute) {
    saved.normed_RD = {};
    saved.activated_NF = {};
  }
  return output_RH;
}

absl::StatusOr<Projector::Saved> Projector::Complete(ModuleContext& context,
                                                     const Saved& kept) const {
  Saved saved = kept;
  if (config_.kind == ProjectorConfig::Kind::kAffine || !kept.activated_NF.is_null()) return saved;
  saved.normed_RD = kept.input_RD;
  if (norm_weight_D_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(saved.normed_RD,
                            NormHiddenAgain(context, kept.input_RD, kept.rstd_R, *norm_weight_D_,
                                            config_.norm_epsilon));
  }
  HETERO_ASSIGN_OR_RETURN(saved.activated_NF, context.recomputed().Allocate(kept.inner_NF.dtype(),
                                                                            kept.inner_NF.dims()));
  HETERO_RETURN_IF_ERROR(SquaredReluForward(kept.inner_NF, {}, saved.activated_NF, context.stream));
  return saved;
}

absl::Status Projector::ForwardAffine(ModuleContext& context, const Saved& saved,
                                      TensorView output_RH) const {
  if (sequence_.alone()) return fc1_.Forward(context, saved.input_RD, output_RH);
  Stream& stream = context.stream;
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView part_NH,
                          sequence_.AllocatePart(output_RH.dtype(), saved.num_rows,
                                                 config_.output_size, stream.workspace(), stream));
  HETERO_RETURN_IF_ERROR(Fill(0, part_NH, stream));
  HETERO_RETURN_IF_ERROR(fc1_.Forward(
      context, saved.input_RD, part_NH.Columns(sequence_.rank() * fc1_.width(), fc1_.width())));
  return sequence_.ReduceScatter(part_NH, output_RH, stream, fc1_.weight().spec->name);
}

absl::Status Projector::BackwardAffine(ModuleContext& context, const Saved& saved,
                                       ConstTensorView d_output_RH, TensorView d_input_RD) const {
  Stream& stream = context.stream;
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const ConstTensorView d_output_NH,
                          sequence_.Gather(d_output_RH, saved.num_rows, stream.workspace(), stream,
                                           fc1_.weight().spec->name));
  const ConstTensorView d_own_columns =
      d_output_NH.Columns(sequence_.rank() * fc1_.width(), fc1_.width());
  return fc1_.BackwardTo(context, d_own_columns, saved.input_RD, d_input_RD);
}

absl::Status Projector::Backward(ModuleContext& context, const Saved& kept,
                                 ConstTensorView d_output_RH, TensorView d_input_RD) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const Saved saved, Complete(context, kept));
  if (!context.needs_input_gradient) d_input_RD = {};
  if (config_.kind == ProjectorConfig::Kind::kAffine) {
    return BackwardAffine(context, saved, d_output_RH, d_input_RD);
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_NF,
                          fc2_.Backward(context, d_output_RH, saved.activated_NF));
  HETERO_RETURN_IF_ERROR(SquaredReluBackward(
      {.da_TF = d_inner_NF, .f_TF = saved.inner_NF, .df_TF = d_inner_NF}, stream));
  const WeightGradient d_norm =
      norm_weight_D_ == nullptr ? WeightGradient() : WeightGradientOf(context, *norm_weight_D_);
  TensorView d_normed_RD = d_input_RD;
  if (norm_weight_D_ != nullptr && (!d_input_RD.is_null() || d_norm.wanted())) {
    HETERO_ASSIGN_OR_RETURN(d_normed_RD,
                            workspace.Allocate(saved.input_RD.dtype(), saved.input_RD.dims()));
  }
  HETERO_RETURN_IF_ERROR(fc1_.BackwardTo(context, d_inner_NF, saved.normed_RD, d_normed_RD));
  if (norm_weight_D_ == nullptr || d_normed_RD.is_null()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(RmsNormBackward({.dy_TC = d_normed_RD,
                                          .x_TC = saved.input_RD,
                                          .weight_C = norm_weight_D_->value,
                                          .rstd_T = saved.rstd_R,
                                          .dx_TC = d_input_RD,
                                          .dweight_C = d_norm.view,
                                          .accumulate = d_norm.accumulate},
                                         stream))
      .With(norm_weight_D_->spec->name);
  return absl::OkStatus();
}

}  // namespace hetero
