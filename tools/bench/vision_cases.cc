// Operations of the vision encoder.

#include <cstdint>
#include <memory>
#include <vector>

#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/norm/norm.h"
#include "hetero/tensor/ops/vision/vision.h"
#include "hetero/tools/bench/attention_work.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

// With the residual add before it, as the second norm of a layer.
Work LayerNormWork(const Sizes& sizes, Operands& operands) {
  const int64_t s = sizes.num_patches(), c = sizes.vision.layer.hidden_size;
  const DType storage = operands.storage(), compute = operands.compute();
  const NormForwardArgs forward = {.x_TC = operands.Normal({s, c}),
                                   .residual_TC = operands.Normal({s, c}),
                                   .weight_C = operands.Normal({c}),
                                   .bias_C = operands.Normal({c}),
                                   .sum_TC = operands.Empty(storage, {s, c}),
                                   .y_TC = operands.Empty(storage, {s, c}),
                                   .mean_T = operands.Empty(compute, {s}),
                                   .rstd_T = operands.Empty(compute, {s})};
  const NormBackwardArgs backward = {.dy_TC = operands.Normal({s, c}),
                                     .x_TC = forward.sum_TC,
                                     .weight_C = forward.weight_C,
                                     .mean_T = forward.mean_T,
                                     .rstd_T = forward.rstd_T,
                                     .dsum_TC = operands.Normal({s, c}),
                                     .dx_TC = operands.Empty(storage, {s, c}),
                                     .dweight_C = operands.Empty(compute, {c}),
                                     .dbias_C = operands.Empty(compute, {c})};
  return ForwardBackward(
      [=](ModuleContext& context) { return LayerNormForward(forward, context.stream); },
      [=](ModuleContext& context) { return LayerNormBackward(backward, context.stream); });
}

Work GeluWork(const Sizes& sizes, Operands& operands) {
  const int64_t s = sizes.num_patches(), f = sizes.vision.layer.ffn_size;
  const TensorView inner = operands.Normal({s, f});
  const TensorView bias = operands.Normal({f});
  const TensorView activated = operands.Empty(operands.storage(), {s, f});
  const GeluBackwardArgs backward = {.da_TF = operands.Normal({s, f}),
                                     .f_TF = inner,
                                     .bias_F = bias,
                                     .df_TF = operands.Empty(operands.storage(), {s, f}),
                                     .dbias_F = operands.Empty(operands.compute(), {f})};
  return ForwardBackward(
      [=](ModuleContext& context) {
        return GeluForward(GeluForm::kTanh, inner, bias, activated, context.stream);
      },
      [=](ModuleContext& context) { return GeluBackward(backward, context.stream); });
}

// Forward with the bias in the product; backward of the bias alone.
Work BiasWork(const Sizes& sizes, Operands& operands) {
  const int64_t s = sizes.num_patches(), n = 3 * sizes.vision.layer.attention_width();
  const TensorView dy = operands.Normal({s, n});
  const TensorView dbias = operands.Empty(operands.compute(), {n});
  return {.forward = [=](ModuleContext& context) {
    return BiasBackward(dy, dbias, true, context.stream);
  }};
}

// The images of a batch, which layouts only point to.
struct Images {
  std::shared_ptr<std::vector<ImageSize>> sizes;
  ImageLayout layout;

  explicit Images(const Sizes& benchmark)
      : sizes(std::make_shared<std::vector<ImageSize>>(
            benchmark.num_images, ImageSize{static_cast<int32_t>(benchmark.image_side),
                                            static_cast<int32_t>(benchmark.image_side)})),
        layout{.sizes = *sizes,
               .patch_size = benchmark.vision.patch_size,
               .num_class_tokens = benchmark.vision.num_class_tokens} {}
};

Work PackWork(const Sizes& sizes, Operands& operands) {
  const Images images(sizes);
  const DType storage = operands.storage(), compute = operands.compute();
  const int64_t n = images.layout.num_patches(), c = sizes.vision.layer.hidden_size;
  const int64_t side = sizes.vision.grid_side(), k = sizes.vision.num_class_tokens;
  const TensorView embedding = operands.Normal({n, c});
  const TensorView positions = operands.Normal({side, side, c});
  const TensorView class_tokens = operands.Normal({k, c});
  const TensorView tokens = operands.Normal({images.layout.num_tokens(), c});
  const PackImageTokensBackwardArgs backward = {
      .d_tokens_WC = operands.Normal({images.layout.num_tokens(), c}),
      .d_embedding_NC = operands.Empty(storage, {n, c}),
      .d_positions_YXC = operands.Empty(compute, {side, side, c}),
      .d_class_tokens_KC = operands.Empty(compute, {k, c}),
      .accumulate_positions = true,
      .accumulate_class_tokens = true};
  return ForwardBackward(
      [=](ModuleContext& context) {
        return PackImageTokens(images.layout, embedding, positions, class_tokens, 0, tokens,
                               context.stream);
      },
      [=](ModuleContext& context) {
        return PackImageTokensBackward(images.layout, backward, context.stream);
      });
}

Work ShuffleWork(const Sizes& sizes, Operands& operands) {
  const Images images(sizes);
  const int64_t n = images.layout.num_patches(), c = sizes.vision.layer.hidden_size;
  const TensorView tokens = operands.Normal({images.layout.num_tokens(), c});
  const TensorView features = operands.Normal({n / 4, 4 * c});
  return ForwardBackward(
      [=](ModuleContext& context) {
        return ShufflePixels(images.layout, tokens, 0, features, context.stream);
      },
      [=](ModuleContext& context) {
        return ShufflePixelsBackward(images.layout, features, 0, tokens, context.stream);
      });
}

}  // namespace

std::vector<Case> VisionCases(const Sizes& sizes) {
  const EncoderLayerConfig& layer = sizes.vision.layer;
  const AttentionShape attention = {
      .num_groups = layer.num_heads, .heads_per_group = 1, .head_size = layer.head_dim};
  const auto attention_over = [=](std::vector<int32_t> images) {
    return [=](Operands& operands) { return AttentionWork(attention, images, operands); };
  };
  return {{"attention.one_image", attention_over(sizes.OneImage())},
          {"attention.images", attention_over(sizes.EqualImages())},
          {"attention.long_tail", attention_over(sizes.LongTailedImages())},
          {"layer_norm", [=](Operands& operands) { return LayerNormWork(sizes, operands); }},
          {"gelu", [=](Operands& operands) { return GeluWork(sizes, operands); }},
          {"bias_gradient", [=](Operands& operands) { return BiasWork(sizes, operands); }},
          {"vision.pack", [=](Operands& operands) { return PackWork(sizes, operands); }},
          {"vision.shuffle", [=](Operands& operands) { return ShuffleWork(sizes, operands); }}};
}

}  // namespace hetero::bench
