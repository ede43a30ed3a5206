// Whole layers, built from the modules that train, or one rank's part of them. The gradient of a
// layer's output is the output itself: of the right size, new in every call and free.

#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "hetero/grid/token_shard.h"
#include "hetero/models/blocks/attention/attention.h"
#include "hetero/models/blocks/encoder_layers/encoder_layer.h"
#include "hetero/models/blocks/head/linear_cross_entropy.h"
#include "hetero/models/blocks/mamba/mamba.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tensor/ops/norm/norm.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

template <typename Block>
struct Layer {
  std::unique_ptr<ParameterStore> parameters;
  std::optional<Block> block;
  std::vector<int32_t> segments;
  TensorView hidden;
  TensorView out;
  typename Block::Saved saved;

  auto batch() const {
    if constexpr (std::is_same_v<Block, EncoderLayer>) {
      return std::span<const int32_t>(segments);
    } else {
      return SequenceBatch{
          .num_rows = std::ssize(segments) - 1, .row_length = segments[1], .cu_seqlens = segments};
    }
  }
};

// `segments` are borders of sequences or images; `create` makes the block from its parameters.
template <typename Block, typename Create>
absl::StatusOr<Work> LayerWork(std::vector<ParameterSpec> specs, std::vector<int32_t> segments,
                               int64_t width, const LayerRanks& ranks, Operands& operands,
                               Create create) {
  auto layer = std::make_shared<Layer<Block>>();
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, ParameterTable::Make(std::move(specs)));
  HETERO_ASSIGN_OR_RETURN(
      layer->parameters,
      ParameterStore::Create(table, ranks.shard, operands.stream().device(), operands.memory()));
  HETERO_RETURN_IF_ERROR(layer->parameters->Initialize(/*seed=*/1, operands.stream()));
  HETERO_ASSIGN_OR_RETURN(layer->block, create(*layer->parameters));
  const ShardSpec::Axis& tp = ranks.shard.tp;
  const TokenShard own = {.num_tokens = segments.back(), .size = tp.size, .rank = tp.rank};
  layer->hidden = operands.Normal({own.rows(), width});
  layer->segments = std::move(segments);
  return ForwardBackward(
      [layer](ModuleContext& context) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(layer->out, layer->block->Forward(context, layer->hidden,
                                                                  layer->batch(), layer->saved));
        return absl::OkStatus();
      },
      [layer](ModuleContext& context) {
        return layer->block->Backward(context, layer->saved, layer->out);
      });
}

absl::StatusOr<Work> MambaLayer(MambaConfig config, int64_t tokens, const LayerRanks& ranks,
                                Operands& operands) {
  config.storage = operands.storage();
  return LayerWork<MambaBlock>(
      MambaBlock::Parameters(config, "layer."), {0, static_cast<int32_t>(tokens)},
      config.hidden_size, ranks, operands, [&](ParameterStore& parameters) {
        return MambaBlock::Create(config, "layer.", parameters, ranks.tensor_parallel);
      });
}

absl::StatusOr<Work> AttentionLayer(AttentionConfig config, int64_t tokens, const LayerRanks& ranks,
                                    Operands& operands) {
  config.storage = operands.storage();
  return LayerWork<AttentionBlock>(
      AttentionBlock::Parameters(config, "layer."), {0, static_cast<int32_t>(tokens)},
      config.hidden_size, ranks, operands, [&](ParameterStore& parameters) {
        return AttentionBlock::Create(config, "layer.", parameters, ranks.tensor_parallel);
      });
}

absl::StatusOr<Work> MoeLayer(MoeConfig config, int64_t tokens, const LayerRanks& ranks,
                              Operands& operands) {
  config.storage = operands.storage();
  const MoeStatistics statistics = {
      .tokens_per_expert_E = operands.Empty(DType::kI64, {config.num_experts}),
      .balance_loss_1 = operands.Empty(operands.compute(), {1})};
  return LayerWork<MoeBlock>(
      MoeBlock::Parameters(config, "layer."), {0, static_cast<int32_t>(tokens)}, config.hidden_size,
      ranks, operands, [&](ParameterStore& parameters) {
        return MoeBlock::Create(config, "layer.", parameters, statistics, ranks.tensor_parallel,
                                ranks.expert_parallel, operands.stream().device(),
                                operands.memory());
      });
}

absl::StatusOr<Work> VisionLayer(EncoderLayerConfig config, std::vector<int32_t> images,
                                 const LayerRanks& ranks, Operands& operands) {
  config.storage = operands.storage();
  return LayerWork<EncoderLayer>(
      EncoderLayer::Parameters(config, "layer."), std::move(images), config.hidden_size, ranks,
      operands, [&](ParameterStore& parameters) {
        return EncoderLayer::Create(config, "layer.", parameters, ranks.tensor_parallel);
      });
}

// Final norm, output layer and loss; every token counts.
Work HeadLayer(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens, h = sizes.hidden_size(), v = sizes.vocabulary_size;
  const DType compute = operands.compute();
  std::vector<int32_t> targets(t);
  for (int64_t i = 0; i < t; ++i) targets[i] = static_cast<int32_t>(i * 16381 % v);
  const NormForwardArgs norm = {.x_TC = operands.Normal({t, h}),
                                .weight_C = operands.Normal({h}),
                                .y_TC = operands.Empty(operands.storage(), {t, h}),
                                .rstd_T = operands.Empty(compute, {t})};
  const LinearCrossEntropyArgs loss = {
      .hidden_TH = norm.y_TC,
      .weight_VH = operands.Normal({v, h}, 0.02),
      .targets_N = operands.Indices(targets),
      .loss_weight_N = operands.Values(compute, std::vector<double>(t, 1.0)),
      .loss_N = operands.Empty(compute, {t})};
  LinearCrossEntropyArgs loss_and_gradients = loss;
  loss_and_gradients.d_hidden_TH = operands.Empty(operands.storage(), {t, h});
  loss_and_gradients.dweight_VH = operands.Empty(compute, {v, h});
  const NormBackwardArgs norm_backward = {.dy_TC = loss_and_gradients.d_hidden_TH,
                                          .x_TC = norm.x_TC,
                                          .weight_C = norm.weight_C,
                                          .rstd_T = norm.rstd_T,
                                          .dx_TC = loss_and_gradients.d_hidden_TH,
                                          .dweight_C = operands.Empty(compute, {h})};
  return {.forward = [=](ModuleContext& context) -> absl::Status {
            HETERO_RETURN_IF_ERROR(RmsNormForward(norm, context.stream));
            return LinearCrossEntropy(loss, context.stream);
          },
          .forward_backward = [=](ModuleContext& context) -> absl::Status {
            HETERO_RETURN_IF_ERROR(RmsNormForward(norm, context.stream));
            HETERO_RETURN_IF_ERROR(LinearCrossEntropy(loss_and_gradients, context.stream));
            return RmsNormBackward(norm_backward, context.stream);
          }};
}

}  // namespace

std::vector<Case> LayerCases(const Sizes& sizes) {
  const int64_t t = sizes.tokens;
  return {
      {"layer.mamba", [=](Operands& operands) { return MambaLayer(sizes.mamba, t, {}, operands); }},
      {"layer.attention",
       [=](Operands& operands) { return AttentionLayer(sizes.attention, t, {}, operands); }},
      {"layer.moe_slice",
       [=](Operands& operands) { return MoeLayer(sizes.experts, t, {}, operands); }},
      {"layer.head_and_loss", [=](Operands& operands) { return HeadLayer(sizes, operands); }},
      {"layer.vision_one_image",
       [=](Operands& operands) {
         return VisionLayer(sizes.vision.layer, sizes.OneImage(), {}, operands);
       }},
      {"layer.vision",
       [=](Operands& operands) {
         return VisionLayer(sizes.vision.layer, sizes.EqualImages(), {}, operands);
       }},
      {"layer.vision_long_tail", [=](Operands& operands) {
         return VisionLayer(sizes.vision.layer, sizes.LongTailedImages(), {}, operands);
       }}};
}

std::vector<Case> SharedLayerCases(const Sizes& sizes, const LayerRanks& ranks) {
  const int64_t t = sizes.tokens;
  MoeConfig experts = sizes.experts;
  experts.num_experts *= ranks.shard.ep.size;
  const Case moe = {"layer.moe",
                    [=](Operands& operands) { return MoeLayer(experts, t, ranks, operands); }};
  if (ranks.tensor_parallel == nullptr) return {moe};
  return {{"layer.mamba",
           [=](Operands& operands) { return MambaLayer(sizes.mamba, t, ranks, operands); }},
          {"layer.attention",
           [=](Operands& operands) { return AttentionLayer(sizes.attention, t, ranks, operands); }},
          moe,
          {"layer.vision", [=](Operands& operands) {
             return VisionLayer(sizes.vision.layer, sizes.EqualImages(), ranks, operands);
           }}};
}

}  // namespace hetero::bench
