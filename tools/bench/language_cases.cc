// Operations of the language model outside the experts. Operands that a layer cuts out of wider
// matrices are cut out of such here too.

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/causal_conv/causal_conv.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/embedding/embedding.h"
#include "hetero/tensor/ops/gated_norm/gated_norm.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/norm/norm.h"
#include "hetero/tensor/ops/ssd/ssd.h"
#include "hetero/tools/bench/attention_work.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

Work RmsNormWork(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens, h = sizes.hidden_size();
  const NormForwardArgs forward = {.x_TC = operands.Normal({t, h}),
                                   .weight_C = operands.Normal({h}),
                                   .y_TC = operands.Empty(operands.storage(), {t, h}),
                                   .rstd_T = operands.Empty(operands.compute(), {t})};
  const TensorView d_hidden = operands.Normal({t, h});
  const NormBackwardArgs backward = {.dy_TC = operands.Normal({t, h}),
                                     .x_TC = forward.x_TC,
                                     .weight_C = forward.weight_C,
                                     .rstd_T = forward.rstd_T,
                                     .dsum_TC = d_hidden,
                                     .dx_TC = operands.Empty(operands.storage(), {t, h}),
                                     .dweight_C = operands.Empty(operands.compute(), {h})};
  return ForwardBackward(
      [=](ModuleContext& context) { return RmsNormForward(forward, context.stream); },
      [=](ModuleContext& context) { return RmsNormBackward(backward, context.stream); });
}

// Backward: both gradients, that of the weight added in the compute type.
Work LinearWork(int64_t rows, int64_t inputs, int64_t outputs, Operands& operands) {
  const TensorView x = operands.Normal({rows, inputs});
  const TensorView w = operands.Normal({outputs, inputs}, 0.02);
  const TensorView y = operands.Empty(operands.storage(), {rows, outputs});
  const TensorView dy = operands.Normal({rows, outputs});
  const TensorView dx = operands.Empty(operands.storage(), {rows, inputs});
  const TensorView dw = operands.Empty(operands.compute(), {outputs, inputs});
  return ForwardBackward(
      [=](ModuleContext& context) { return LinearForward(x, w, {}, y, context.stream); },
      [=](ModuleContext& context) -> absl::Status {
        HETERO_RETURN_IF_ERROR(LinearBackwardInput(dy, w, dx, false, context.stream));
        return LinearBackwardWeight(dy, x, dw, true, context.stream);
      });
}

Work SsdWork(const Sizes& sizes, Operands& operands) {
  const MambaConfig& config = sizes.mamba;
  const int64_t t = sizes.tokens, inner = config.inner_width(), group = config.group_width();
  const DType compute = operands.compute();
  const TensorView conv = operands.Normal({t, config.conv_width()});
  const TensorView projected = operands.Normal({t, config.in_proj_width()});
  const auto steps = [&](const TensorView& view) {
    return view.Columns(inner + config.conv_width(), config.num_heads);
  };
  std::vector<double> a_log, dt_bias;
  for (int64_t h = 0; h < config.num_heads; ++h) {
    a_log.push_back(std::log(1.0 + static_cast<double>(h % 16)));
    dt_bias.push_back(-6.5 + 4.0 * static_cast<double>(h) / static_cast<double>(config.num_heads));
  }
  const SsdInputs inputs = {.shape = {.num_heads = config.num_heads,
                                      .head_dim = config.head_dim,
                                      .num_groups = config.num_groups,
                                      .state_size = config.state_size,
                                      .chunk_length = config.chunk_size},
                            .sequences = {.num_rows = 1, .row_length = t},
                            .x_TI = conv.Columns(0, inner),
                            .b_TS = conv.Columns(inner, group),
                            .c_TS = conv.Columns(inner + group, group),
                            .dt_raw_TH = steps(projected),
                            .dt_bias_H = operands.Values(operands.storage(), dt_bias),
                            .a_log_H = operands.Values(operands.storage(), a_log),
                            .skip_H = operands.Normal({config.num_heads})};
  const auto dims = SsdStatesDims(inputs.shape, t, t, operands.storage());
  const TensorView states =
      operands.Empty(operands.storage(), {dims[0], dims[1], dims[2], dims[3]});
  const TensorView y = operands.Empty(operands.storage(), {t, inner});
  const TensorView d_conv = operands.Empty(operands.storage(), {t, config.conv_width()});
  const TensorView d_projected = operands.Empty(operands.storage(), {t, config.in_proj_width()});
  const SsdGradients gradients = {.d_x_TI = d_conv.Columns(0, inner),
                                  .d_b_TS = d_conv.Columns(inner, group),
                                  .d_c_TS = d_conv.Columns(inner + group, group),
                                  .d_dt_raw_TH = steps(d_projected),
                                  .d_dt_bias_H = operands.Empty(compute, {config.num_heads}),
                                  .d_a_log_H = operands.Empty(compute, {config.num_heads}),
                                  .d_skip_H = operands.Empty(compute, {config.num_heads}),
                                  .accumulate = true};
  const TensorView d_y = operands.Normal({t, inner});
  return ForwardBackward(
      [=](ModuleContext& context) { return SsdForward(inputs, y, states, context.stream); },
      [=](ModuleContext& context) {
        return SsdBackward(inputs, states, d_y, gradients, context.stream);
      });
}

Work CausalConvWork(const Sizes& sizes, Operands& operands) {
  const MambaConfig& config = sizes.mamba;
  const int64_t t = sizes.tokens, c = config.conv_width(), taps = config.conv_kernel;
  const auto columns = [&](const TensorView& view) {
    return view.Columns(config.inner_width(), c);
  };
  const CausalConvInputs inputs = {.x_TC = columns(operands.Normal({t, config.in_proj_width()})),
                                   .weight_CK = operands.Normal({c, taps}, 0.3),
                                   .bias_C = operands.Normal({c}, 0.3),
                                   .sequences = {.num_rows = 1, .row_length = t}};
  const TensorView out = operands.Empty(operands.storage(), {t, c});
  const TensorView d_out = operands.Normal({t, c});
  const CausalConvGradients gradients = {
      .d_x_TC = columns(operands.Empty(operands.storage(), {t, config.in_proj_width()})),
      .d_weight_CK = operands.Empty(operands.compute(), {c, taps}),
      .d_bias_C = operands.Empty(operands.compute(), {c}),
      .accumulate = true};
  return ForwardBackward(
      [=](ModuleContext& context) { return CausalConvForward(inputs, out, context.stream); },
      [=](ModuleContext& context) {
        return CausalConvBackward(inputs, d_out, gradients, context.stream);
      });
}

Work GatedNormWork(const Sizes& sizes, Operands& operands) {
  const MambaConfig& config = sizes.mamba;
  const int64_t t = sizes.tokens, inner = config.inner_width();
  const auto gate = [&](const TensorView& view) { return view.Columns(0, inner); };
  const GatedNormInputs inputs = {.y_TI = operands.Normal({t, inner}),
                                  .z_TI = gate(operands.Normal({t, config.in_proj_width()})),
                                  .weight_I = operands.Normal({inner}),
                                  .num_groups = config.num_groups,
                                  .epsilon = config.norm_epsilon};
  const TensorView out = operands.Empty(operands.storage(), {t, inner});
  const TensorView d_out = operands.Normal({t, inner});
  const GatedNormGradients gradients = {
      .d_y_TI = operands.Empty(operands.storage(), {t, inner}),
      .d_z_TI = gate(operands.Empty(operands.storage(), {t, config.in_proj_width()})),
      .d_weight_I = operands.Empty(operands.compute(), {inner}),
      .accumulate = true};
  return ForwardBackward(
      [=](ModuleContext& context) { return GatedNormForward(inputs, out, context.stream); },
      [=](ModuleContext& context) {
        return GatedNormBackward(inputs, d_out, gradients, context.stream);
      });
}

// Logits of a quarter of the tokens, as of a chunk of the output layer; the gradient is in place.
Work CrossEntropyWork(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens / 4, v = sizes.vocabulary_size;
  std::vector<int32_t> targets(t);
  for (int64_t i = 0; i < t; ++i) targets[i] = static_cast<int32_t>(i * 16381 % v);
  CrossEntropyArgs args = {.logits_TV = operands.Normal({t, v}),
                           .targets_T = operands.Indices(targets),
                           .loss_T = operands.Empty(operands.compute(), {t})};
  CrossEntropyArgs with_gradient = args;
  with_gradient.weight_T = operands.Values(operands.compute(), std::vector<double>(t, 1.0));
  return {.forward = [=](ModuleContext& context) { return CrossEntropy(args, context.stream); },
          .forward_backward =
              [=](ModuleContext& context) { return CrossEntropy(with_gradient, context.stream); }};
}

Work EmbeddingWork(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens, h = sizes.hidden_size(), v = sizes.vocabulary_size;
  std::vector<int32_t> ids(t);
  for (int64_t i = 0; i < t; ++i) ids[i] = static_cast<int32_t>(i * i % v);
  const EmbeddingForwardArgs forward = {.weight_VH = operands.Normal({v, h}, 0.02),
                                        .ids_N = operands.Indices(ids),
                                        .out_TH = operands.Empty(operands.storage(), {t, h})};
  const EmbeddingBackwardArgs backward = {.d_out_TH = operands.Normal({t, h}),
                                          .ids_N = forward.ids_N,
                                          .dweight_VH = operands.Empty(operands.compute(), {v, h})};
  return ForwardBackward(
      [=](ModuleContext& context) { return EmbeddingForward(forward, context.stream); },
      [=](ModuleContext& context) { return EmbeddingBackward(backward, context.stream); });
}

// Image rows to their places in the sequence, and back: half of the tokens.
Work ScatterRowsWork(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens, h = sizes.hidden_size();
  std::vector<int32_t> places(t / 2);
  for (int64_t i = 0; i < t / 2; ++i) places[i] = static_cast<int32_t>(i + t / 4);
  const TensorView rows = operands.Normal({t / 2, h});
  const TensorView positions = operands.Indices(places);
  const TensorView sequence = operands.Normal({t, h});
  return ForwardBackward(
      [=](ModuleContext& context) {
        return ScatterRows(rows, positions, sequence, context.stream);
      },
      [=](ModuleContext& context) {
        return GatherRows(sequence, positions, rows, context.stream);
      });
}

Work AddWork(const Sizes& sizes, Operands& operands) {
  const TensorView a = operands.Normal({sizes.tokens, sizes.hidden_size()});
  const TensorView b = operands.Normal({sizes.tokens, sizes.hidden_size()});
  const TensorView sum = operands.Empty(operands.storage(), {sizes.tokens, sizes.hidden_size()});
  return {.forward = [=](ModuleContext& context) { return Add(a, b, sum, context.stream); }};
}

}  // namespace

std::vector<Case> LanguageCases(const Sizes& sizes) {
  const int64_t t = sizes.tokens, h = sizes.hidden_size();
  const auto linear = [&](std::string name, int64_t inputs, int64_t outputs) {
    return Case{std::move(name),
                [=](Operands& operands) { return LinearWork(t, inputs, outputs, operands); }};
  };
  const AttentionShape attention = {.num_groups = sizes.attention.num_kv_groups,
                                    .heads_per_group = sizes.attention.heads_per_group(),
                                    .head_size = sizes.attention.head_dim,
                                    .causal = true};
  // One of a long sequence's groups, which tensor parallelism would leave to a GPU.
  AttentionShape of_group = attention;
  of_group.num_groups = 1;
  return {linear("linear.mamba_in", h, sizes.mamba.in_proj_width()),
          linear("linear.mamba_out", sizes.mamba.inner_width(), h),
          linear("linear.qkv", h, sizes.attention.qkv_width()),
          linear("linear.shared_fc1", h, sizes.experts.shared_ffn_size),
          linear("linear.shared_fc2", sizes.experts.shared_ffn_size, h),
          {"ssd", [=](Operands& operands) { return SsdWork(sizes, operands); }},
          {"attention.causal",
           [=](Operands& operands) {
             return AttentionWork(attention, {0, static_cast<int32_t>(t)}, operands);
           }},
          {"attention.long",
           [=](Operands& operands) {
             return AttentionWork(of_group, {0, static_cast<int32_t>(16 * t)}, operands);
           }},
          {"causal_conv", [=](Operands& operands) { return CausalConvWork(sizes, operands); }},
          {"gated_norm", [=](Operands& operands) { return GatedNormWork(sizes, operands); }},
          {"rms_norm", [=](Operands& operands) { return RmsNormWork(sizes, operands); }},
          {"add", [=](Operands& operands) { return AddWork(sizes, operands); }},
          {"cross_entropy", [=](Operands& operands) { return CrossEntropyWork(sizes, operands); }},
          {"embedding", [=](Operands& operands) { return EmbeddingWork(sizes, operands); }},
          {"scatter_rows", [=](Operands& operands) { return ScatterRowsWork(sizes, operands); }}};
}

}  // namespace hetero::bench
