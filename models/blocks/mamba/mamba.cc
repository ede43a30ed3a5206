#include "hetero/models/blocks/mamba/mamba.h"

#include <cmath>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/nearest_size.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/models/blocks/weight_gradient.h"

namespace hetero {
namespace {

// Step sizes of a new model are drawn from this range (Gu and Dao, arXiv:2312.00752, appendix E),
// decay rates from (1, 16).
constexpr double kSmallestStep = 1e-3;
constexpr double kLargestStep = 1e-1;
constexpr double kSlowestDecay = 1;
constexpr double kFastestDecay = 16;

// [C, 1, taps] as the [C, taps] of the kernel; null stays null.
template <typename View>
View WithoutMiddleDim(const View& weight) {
  return weight.is_null() ? weight : weight.Reshape({weight.dim(0), weight.dim(2)});
}

}  // namespace

std::vector<ParameterSpec> MambaBlock::Parameters(const MambaConfig& config,
                                                  std::string_view prefix) {
  const int64_t inner = config.inner_width();
  const int64_t group = config.group_width();
  const int64_t conv = config.conv_width();
  const double conv_bound = 1 / std::sqrt(static_cast<double>(config.conv_kernel));
  const DimSharding conv_channels = {ShardAxis::kTp, {{inner}, {group}, {group}}};
  const DimSharding in_rows = {ShardAxis::kTp,
                               {{inner}, {inner}, {group}, {group}, {config.num_heads}}};
  const DimSharding by_tp = {ShardAxis::kTp, {}};
  std::vector<ParameterSpec> specs;
  const auto add = [&](std::string_view name, std::vector<int64_t> shape, Init init,
                       std::vector<DimSharding> dims) {
    // Vectors are not decayed.
    const bool decay = shape.size() > 1;
    specs.push_back({.name = absl::StrCat(prefix, "mixer.", name),
                     .shape = std::move(shape),
                     .storage = config.storage,
                     .init = init,
                     .dims = std::move(dims),
                     .decay = decay});
  };
  const auto add_bias = [&](std::string_view name, int64_t width, const DimSharding& dim) {
    specs.push_back(BiasOf(absl::StrCat(prefix, "mixer.", name), width, dim, config.storage));
  };
  add("in_proj.layer_norm_weight", {config.hidden_size}, Init::Constant(1), {});
  specs.back().partial_over_tp = true;
  add("in_proj.weight", {config.in_proj_width(), config.hidden_size}, Init::Normal(config.init_std),
      {in_rows, {}});
  if (config.use_bias) add_bias("in_proj.bias", config.in_proj_width(), in_rows);
  add("conv1d.weight", {conv, 1, config.conv_kernel}, Init::Uniform(-conv_bound, conv_bound),
      {conv_channels, {}, {}});
  if (config.conv_bias) {
    add("conv1d.bias", {conv}, Init::Uniform(-conv_bound, conv_bound), {conv_channels});
  }
  add("dt_bias", {config.num_heads}, Init::InverseSoftplus(kSmallestStep, kLargestStep), {by_tp});
  add("A_log", {config.num_heads}, Init::LogOfUniform(kSlowestDecay, kFastestDecay), {by_tp});
  add("D", {config.num_heads}, Init::Constant(1), {by_tp});
  add("norm.weight", {inner}, Init::Constant(1), {by_tp});
  add("out_proj.weight", {config.hidden_size, inner}, Init::Normal(config.output_init_std),
      {{}, by_tp});
  if (config.use_bias) add_bias("out_proj.bias", config.hidden_size, {});
  return specs;
}

absl::Status MambaBlock::CheckRanks(const MambaConfig& config, std::string_view prefix,
                                    int64_t tensor_parallel_ranks) {
  const auto divides = [&](int64_t ranks) { return config.num_groups % ranks == 0; };
  if (divides(tensor_parallel_ranks)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(prefix, "mixer has ", config.num_groups, " groups for ", tensor_parallel_ranks,
                   " tensor-parallel ranks; expected ranks that divide the groups; nearest: ",
                   NearestSize(tensor_parallel_ranks, divides)));
}

absl::StatusOr<MambaBlock> MambaBlock::Create(const MambaConfig& config, std::string_view prefix,
                                              ParameterStore& parameters,
                                              Communicator* tensor_parallel) {
  if (config.num_groups < 1 || config.num_heads % config.num_groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_groups is ", config.num_groups,
                                                   "; expected a divisor of the ", config.num_heads,
                                                   " heads"));
  }
  const SequenceParallel sequence(tensor_parallel);
  HETERO_RETURN_IF_ERROR(CheckRanks(config, prefix, sequence.size()));
  MambaBlock block;
  const auto find = [&](std::string_view name, Parameter*& parameter) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(parameter, parameters.Find(absl::StrCat(prefix, "mixer.", name)));
    return absl::OkStatus();
  };
  HETERO_RETURN_IF_ERROR(find("in_proj.layer_norm_weight", block.norm_weight_H_));
  Parameter* w_in_NH = nullptr;
  Parameter* w_out_HI = nullptr;
  HETERO_RETURN_IF_ERROR(find("in_proj.weight", w_in_NH));
  HETERO_RETURN_IF_ERROR(find("conv1d.weight", block.conv_weight_));
  if (config.conv_bias) {
    HETERO_RETURN_IF_ERROR(find("conv1d.bias", block.conv_bias_C_));
  }
  HETERO_RETURN_IF_ERROR(find("dt_bias", block.dt_bias_));
  HETERO_RETURN_IF_ERROR(find("A_log", block.a_log_));
  HETERO_RETURN_IF_ERROR(find("D", block.skip_));
  HETERO_RETURN_IF_ERROR(find("norm.weight", block.gated_norm_weight_I_));
  HETERO_RETURN_IF_ERROR(find("out_proj.weight", w_out_HI));
  Parameter* b_in_N = nullptr;
  Parameter* b_out_H = nullptr;
  if (config.use_bias) {
    HETERO_RETURN_IF_ERROR(find("in_proj.bias", b_in_N));
    HETERO_RETURN_IF_ERROR(find("out_proj.bias", b_out_H));
  }
  block.w_in_NH_ = ColumnLinear(sequence, w_in_NH, b_in_N);
  block.w_out_HI_ = RowLinear(sequence, w_out_HI, b_out_H);
  block.local_ = config;
  block.local_.num_heads = block.dt_bias_->value.dim(0);
  block.local_.num_groups =
      (block.conv_weight_->value.dim(0) - block.local_.inner_width()) / 2 / config.state_size;
  return block;
}

CausalConvInputs MambaBlock::ConvInputs(const Saved& saved) const {
  return {.x_TC = ConvColumns(saved.projected_TN),
          .weight_CK = WithoutMiddleDim(conv_weight_->value),
          .bias_C = conv_bias_C_ == nullptr ? ConstTensorView() : conv_bias_C_->value,
          .sequences = saved.batch};
}

SsdInputs MambaBlock::ScanInputs(const Saved& saved) const {
  return {.shape = {.num_heads = local_.num_heads,
                    .head_dim = local_.head_dim,
                    .num_groups = local_.num_groups,
                    .state_size = local_.state_size,
                    .chunk_length = local_.chunk_size},
          .steps = local_.steps,
          .sequences = saved.batch,
          .x_TI = ScanInput(saved.conv_TC),
          .b_TS = ScanGroups(saved.conv_TC, 0),
          .c_TS = ScanGroups(saved.conv_TC, 1),
          .dt_raw_TH = StepColumns(saved.projected_TN),
          .dt_bias_H = dt_bias_->value,
          .a_log_H = a_log_->value,
          .skip_H = skip_->value};
}

GatedNormInputs MambaBlock::NormInputs(const Saved& saved) const {
  return {.y_TI = saved.scan_TI,
          .z_TI = Gate(saved.projected_TN),
          .weight_I = gated_norm_weight_I_->value,
          .num_groups = local_.num_groups,
          .epsilon = local_.norm_epsilon};
}

absl::StatusOr<TensorView> MambaBlock::Forward(ModuleContext& context, ConstTensorView hidden_RH,
                                               const SequenceBatch& batch, Saved& saved) const {
  ArenaScope scope(context.stream.workspace());
  saved = {.hidden_RH = hidden_RH, .batch = batch};
  HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                          NormHidden(context, hidden_RH, *norm_weight_H_, local_.norm_epsilon));
  saved.normed_RH = normed.normed_TH;
  saved.rstd_R = normed.rstd_T;
  const int64_t tokens = batch.num_tokens();
  const DType dtype = hidden_RH.dtype();
  Arena& activations = context.activations;
  HETERO_ASSIGN_OR_RETURN(saved.projected_TN,
                          activations.Allocate(dtype, {tokens, w_in_NH_.width()}));
  HETERO_RETURN_IF_ERROR(w_in_NH_.Forward(context, saved.normed_RH, saved.projected_TN));
  HETERO_ASSIGN_OR_RETURN(saved.conv_TC,
                          context.brief().Allocate(dtype, {tokens, local_.conv_width()}));
  HETERO_RETURN_IF_ERROR(CausalConvForward(ConvInputs(saved), saved.conv_TC, context.stream));
  HETERO_ASSIGN_OR_RETURN(saved.scan_TI,
                          activations.Allocate(dtype, {tokens, local_.inner_width()}));
  const SsdInputs scan = ScanInputs(saved);
  if (context.mode != Mode::kEval) {
    HETERO_ASSIGN_OR_RETURN(
        saved.states,
        activations.Allocate(dtype, SsdStatesDims(scan.shape, tokens, batch.row_length, dtype)));
  }
  HETERO_RETURN_IF_ERROR(SsdForward(scan, saved.scan_TI, saved.states, context.stream));
  HETERO_ASSIGN_OR_RETURN(saved.gated_TI,
                          context.brief().Allocate(dtype, {tokens, local_.inner_width()}));
  HETERO_RETURN_IF_ERROR(GatedNormForward(NormInputs(saved), saved.gated_TI, context.stream));
  HETERO_ASSIGN_OR_RETURN(const TensorView out_RH,
                          w_out_HI_.Forward(context, saved.gated_TI, hidden_RH));
  if (context.selective_recompute) saved.normed_RH = saved.conv_TC = saved.gated_TI = {};
  return out_RH;
}

absl::StatusOr<MambaBlock::Saved> MambaBlock::Complete(ModuleContext& context,
                                                       const Saved& kept) const {
  Saved saved = kept;
  if (!kept.normed_RH.is_null()) return saved;
  const int64_t tokens = kept.batch.num_tokens();
  const DType dtype = kept.hidden_RH.dtype();
  Arena& arena = context.recomputed();
  HETERO_ASSIGN_OR_RETURN(saved.normed_RH, NormHiddenAgain(context, kept.hidden_RH, kept.rstd_R,
                                                           *norm_weight_H_, local_.norm_epsilon));
  HETERO_ASSIGN_OR_RETURN(saved.conv_TC, arena.Allocate(dtype, {tokens, local_.conv_width()}));
  HETERO_RETURN_IF_ERROR(CausalConvForward(ConvInputs(saved), saved.conv_TC, context.stream));
  HETERO_ASSIGN_OR_RETURN(saved.gated_TI, arena.Allocate(dtype, {tokens, local_.inner_width()}));
  HETERO_RETURN_IF_ERROR(GatedNormForward(NormInputs(saved), saved.gated_TI, context.stream));
  return saved;
}

absl::Status MambaBlock::Backward(ModuleContext& context, const Saved& kept,
                                  TensorView d_hidden_RH) const {
  Arena& workspace = context.stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const Saved saved, Complete(context, kept));
  const DType dtype = d_hidden_RH.dtype();
  const int64_t tokens = saved.batch.num_tokens();
  HETERO_ASSIGN_OR_RETURN(const TensorView d_scan_TI,
                          w_out_HI_.Backward(context, d_hidden_RH, saved.gated_TI));
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered normed,
                          w_in_NH_.StartBackward(context, saved.normed_RH, tokens));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_projected_TN,
                          workspace.Allocate(dtype, {tokens, w_in_NH_.width()}));
  const WeightGradient d_norm = WeightGradientOf(context, *gated_norm_weight_I_);
  HETERO_RETURN_IF_ERROR(GatedNormBackward(NormInputs(saved), d_scan_TI,
                                           {.d_y_TI = d_scan_TI,
                                            .d_z_TI = Gate(d_projected_TN),
                                            .d_weight_I = d_norm.view,
                                            .accumulate = d_norm.accumulate},
                                           context.stream));

  HETERO_ASSIGN_OR_RETURN(const TensorView d_conv_TC,
                          workspace.Allocate(dtype, {tokens, local_.conv_width()}));
  const WeightGradient d_dt_bias = WeightGradientOf(context, *dt_bias_);
  const WeightGradient d_a_log = WeightGradientOf(context, *a_log_);
  const WeightGradient d_skip = WeightGradientOf(context, *skip_);
  HETERO_RETURN_IF_ERROR(
      SsdBackward(ScanInputs(saved), saved.states, d_scan_TI,
                  {.d_x_TI = ScanInput(d_conv_TC),
                   .d_b_TS = ScanGroups(d_conv_TC, 0),
                   .d_c_TS = ScanGroups(d_conv_TC, 1),
                   .d_dt_raw_TH = StepColumns(d_projected_TN),
                   .d_dt_bias_H = d_dt_bias.view,
                   .d_a_log_H = d_a_log.view,
                   .d_skip_H = d_skip.view,
                   .accumulate = d_dt_bias.accumulate || d_a_log.accumulate || d_skip.accumulate},
                  context.stream));

  const WeightGradient d_conv_weight = WeightGradientOf(context, *conv_weight_);
  const WeightGradient d_conv_bias =
      conv_bias_C_ == nullptr ? WeightGradient() : WeightGradientOf(context, *conv_bias_C_);
  HETERO_RETURN_IF_ERROR(
      CausalConvBackward(ConvInputs(saved), d_conv_TC,
                         {.d_x_TC = ConvColumns(d_projected_TN),
                          .d_weight_CK = WithoutMiddleDim(d_conv_weight.view),
                          .d_bias_C = d_conv_bias.view,
                          .accumulate = d_conv_weight.accumulate || d_conv_bias.accumulate},
                         context.stream));

  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_RH,
                          w_in_NH_.FinishBackward(context, d_projected_TN, std::move(normed)));
  return NormHiddenBackward(context, d_normed_RH, saved.hidden_RH, saved.rstd_R, *norm_weight_H_,
                            d_hidden_RH);
}

}  // namespace hetero
