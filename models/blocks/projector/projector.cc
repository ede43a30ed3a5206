#include "hetero/models/blocks/projector/projector.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/gemm/gemm.h"
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
                     .stage = stage});
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
                     .decay = false,
                     .stage = stage});
  }
  matrix(kFc1, config.ffn_size, config.input_size, config.init_std, {sharded, whole});
  matrix(kFc2, config.output_size, config.ffn_size, config.output_init_std, {whole, sharded});
  return specs;
}

absl::StatusOr<Projector> Projector::Create(const ProjectorConfig& config, std::string_view prefix,
                                            ParameterStore& parameters,
                                            Communicator* tensor_parallel) {
  if (tensor_parallel != nullptr) {
    return absl::UnimplementedError(
        "the projector runs on one tensor-parallel rank; set the encoder's tp to 1");
  }
  const auto find = [&](std::string_view name) {
    return parameters.Find(absl::StrCat(prefix, name));
  };
  Projector projector;
  projector.config_ = config;
  if (config.kind == ProjectorConfig::Kind::kAffine) {
    if (config.rms_norm) {
      return absl::InvalidArgumentError(
          "an affine projector has no norm; take the mlp kind, or no norm");
    }
    HETERO_ASSIGN_OR_RETURN(projector.w1_FD_, find(kAffine));
    return projector;
  }
  if (config.rms_norm) {
    HETERO_ASSIGN_OR_RETURN(projector.norm_weight_D_, find(kNorm));
  }
  HETERO_ASSIGN_OR_RETURN(projector.w1_FD_, find(kFc1));
  HETERO_ASSIGN_OR_RETURN(projector.w2_HF_, find(kFc2));
  return projector;
}

absl::StatusOr<TensorView> Projector::Forward(ModuleContext& context, ConstTensorView input_ND,
                                              Saved& saved) const {
  Stream& stream = context.stream;
  Arena& arena = context.activations;
  const DType dtype = input_ND.dtype();
  const int64_t rows = input_ND.dim(0);
  HETERO_ASSIGN_OR_RETURN(const TensorView output_NH,
                          arena.Allocate(dtype, {rows, config_.output_size}));
  std::optional<ArenaScope> kept_by_nobody;
  if (context.mode == Mode::kEval) kept_by_nobody.emplace(arena);

  saved.input_ND = input_ND;
  saved.normed_ND = input_ND;
  if (config_.kind == ProjectorConfig::Kind::kAffine) {
    HETERO_RETURN_IF_ERROR(LinearForward(input_ND, w1_FD_->value, {}, output_NH, stream))
        .With(w1_FD_->spec->name);
    return output_NH;
  }
  if (norm_weight_D_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                            NormHidden(context, input_ND, *norm_weight_D_, config_.norm_epsilon));
    saved.normed_ND = normed.normed_TH;
    saved.rstd_N = normed.rstd_T;
  }
  HETERO_ASSIGN_OR_RETURN(saved.inner_NF, arena.Allocate(dtype, {rows, config_.ffn_size}));
  HETERO_ASSIGN_OR_RETURN(saved.activated_NF, arena.Allocate(dtype, {rows, config_.ffn_size}));
  HETERO_RETURN_IF_ERROR(LinearForward(saved.normed_ND, w1_FD_->value, {}, saved.inner_NF, stream))
      .With(w1_FD_->spec->name);
  HETERO_RETURN_IF_ERROR(SquaredReluForward(saved.inner_NF, {}, saved.activated_NF, stream));
  HETERO_RETURN_IF_ERROR(LinearForward(saved.activated_NF, w2_HF_->value, {}, output_NH, stream))
      .With(w2_HF_->spec->name);
  return output_NH;
}

absl::Status Projector::Backward(ModuleContext& context, const Saved& saved,
                                 ConstTensorView d_output_NH, TensorView d_input_ND) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  const bool wants_input = context.needs_input_gradient && !d_input_ND.is_null();
  if (config_.kind == ProjectorConfig::Kind::kAffine) {
    HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_output_NH, saved.input_ND, *w1_FD_));
    if (!wants_input) return absl::OkStatus();
    return LinearBackwardInput(d_output_NH, w1_FD_->value, d_input_ND, /*accumulate=*/false,
                               stream);
  }
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_inner_NF,
      ProjectToHiddenBackward(context, d_output_NH, saved.activated_NF, *w2_HF_));
  HETERO_RETURN_IF_ERROR(SquaredReluBackward(
      {.da_TF = d_inner_NF, .f_TF = saved.inner_NF, .df_TF = d_inner_NF}, stream));
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_inner_NF, saved.normed_ND, *w1_FD_));
  const WeightGradient d_norm =
      norm_weight_D_ == nullptr ? WeightGradient() : WeightGradientOf(context, *norm_weight_D_);
  if (!wants_input && !d_norm.wanted()) return absl::OkStatus();

  TensorView d_normed_ND = d_input_ND;
  if (norm_weight_D_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(d_normed_ND,
                            workspace.Allocate(saved.input_ND.dtype(), saved.input_ND.dims()));
  }
  HETERO_RETURN_IF_ERROR(LinearBackwardInput(d_inner_NF, w1_FD_->value, d_normed_ND,
                                             /*accumulate=*/false, stream));
  if (norm_weight_D_ == nullptr) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(RmsNormBackward({.dy_TC = d_normed_ND,
                                          .x_TC = saved.input_ND,
                                          .weight_C = norm_weight_D_->value,
                                          .rstd_T = saved.rstd_N,
                                          .dx_TC = wants_input ? d_input_ND : TensorView(),
                                          .dweight_C = d_norm.view,
                                          .accumulate = d_norm.accumulate},
                                         stream))
      .With(norm_weight_D_->spec->name);
  return absl::OkStatus();
}

}  // namespace hetero
