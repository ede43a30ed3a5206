// Sums of gradients beside the backward that makes them, and gathers of parameters beside the
// forward that needs them, of a few layers that data-parallel ranks have alike.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/mlp/mlp.h"
#include "hetero/optim/bucket_traffic.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

constexpr int kNumLayers = 4;

struct Layers {
  std::unique_ptr<ParameterStore> parameters;
  std::unique_ptr<BucketTraffic> traffic;
  std::vector<MlpBlock> blocks;
  std::vector<MlpBlock::Saved> saved = std::vector<MlpBlock::Saved>(kNumLayers);
  std::vector<int32_t> borders;
  TensorView hidden;
  TensorView out;

  absl::Status Forward(ModuleContext& context) {
    const SequenceBatch batch = {
        .num_rows = 1, .row_length = borders.back(), .cu_seqlens = borders};
    out = hidden;
    for (int layer = 0; layer < kNumLayers; ++layer) {
      HETERO_RETURN_IF_ERROR(context.BeginLayer(layer));
      HETERO_ASSIGN_OR_RETURN(out, blocks[layer].Forward(context, out, batch, saved[layer]));
    }
    return absl::OkStatus();
  }

  absl::Status Backward(ModuleContext& context) {
    for (int layer = kNumLayers; layer-- > 0;) {
      HETERO_RETURN_IF_ERROR(blocks[layer].Backward(context, saved[layer], out));
      HETERO_RETURN_IF_ERROR(context.EndLayer(layer));
    }
    return traffic->Reduce();
  }
};

absl::StatusOr<std::shared_ptr<Layers>> MakeLayers(const Sizes& sizes, const LayerRanks& ranks,
                                                   Operands& operands) {
  const MlpConfig config = {.hidden_size = sizes.hidden_size(),
                            .ffn_size = 4 * sizes.hidden_size(),
                            .storage = operands.storage()};
  const auto prefix = [](int layer) { return absl::StrCat("layers.", layer, "."); };
  std::vector<ParameterSpec> specs;
  for (int layer = 0; layer < kNumLayers; ++layer) {
    for (ParameterSpec& spec : MlpBlock::Parameters(config, prefix(layer))) {
      spec.layer = layer;
      specs.push_back(std::move(spec));
    }
  }
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, ParameterTable::Make(std::move(specs)));
  auto layers = std::make_shared<Layers>();
  Stream& stream = operands.stream();
  const int64_t num_ranks = ranks.data_parallel->size();
  // A bucket a layer.
  const int64_t of_layer = 2 * config.hidden_size * config.ffn_size;
  HETERO_ASSIGN_OR_RETURN(layers->parameters,
                          ParameterStore::Create(table, {}, stream.device(), operands.memory(),
                                                 {.dense_ranks = num_ranks,
                                                  .expert_ranks = num_ranks,
                                                  .buckets = {.bucket_elements = of_layer}}));
  HETERO_RETURN_IF_ERROR(layers->parameters->Initialize(/*seed=*/1, stream));
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  HETERO_ASSIGN_OR_RETURN(
      layers->traffic,
      BucketTraffic::Create("bench", *layers->parameters, {.dense = ranks.data_parallel}, {}, *side,
                            stream.device(), operands.memory()));
  for (int layer = 0; layer < kNumLayers; ++layer) {
    HETERO_ASSIGN_OR_RETURN(MlpBlock block,
                            MlpBlock::Create(config, prefix(layer), *layers->parameters, nullptr));
    layers->blocks.push_back(std::move(block));
  }
  layers->borders = {0, static_cast<int32_t>(sizes.tokens)};
  layers->hidden = operands.Normal({sizes.tokens, config.hidden_size});
  return layers;
}

}  // namespace

std::vector<Case> TrafficCases(const Sizes& sizes, const LayerRanks& ranks) {
  const auto make = [=](auto run) {
    return [=](Operands& operands) -> absl::StatusOr<Work> {
      HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<Layers> layers,
                              MakeLayers(sizes, ranks, operands));
      const Call call = [=](ModuleContext& context) {
        context.traffic = layers->traffic.get();
        return run(*layers, context);
      };
      return Work{.forward = call, .forward_backward = call};
    };
  };
  return {{"gradients of 4 mlp", make([](Layers& layers, ModuleContext& context) -> absl::Status {
             HETERO_RETURN_IF_ERROR(layers.Forward(context));
             return layers.Backward(context);
           })},
          {"parameters of 4 mlp", make([](Layers& layers, ModuleContext& context) -> absl::Status {
             HETERO_RETURN_IF_ERROR(layers.traffic->Gather());
             return layers.Forward(context);
           })}};
}

}  // namespace hetero::bench
