// A whole language model as it trains on one rank: forward and backward of a microbatch, and the
// optimizer's step on all of its parameters.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/optim/optimizer.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

absl::StatusOr<HybridConfig> ConfigOf(const Sizes& sizes, DType storage) {
  HybridConfig config = {.hidden_size = sizes.hidden_size(),
                         .vocabulary_size = sizes.vocabulary_size,
                         .storage = storage,
                         .attention = sizes.attention,
                         .mamba = sizes.mamba,
                         .experts = sizes.experts};
  HETERO_ASSIGN_OR_RETURN(config.pattern, LayerPattern::Parse(sizes.pattern));
  config.attention.storage = config.mamba.storage = config.experts.storage = storage;
  return config;
}

absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(const HybridConfig& config,
                                                          const StoreSharing& sharing,
                                                          Operands& operands) {
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, MakeHybridTable(config, {}));
  HETERO_ASSIGN_OR_RETURN(
      std::unique_ptr<ParameterStore> store,
      ParameterStore::Create(table, {}, operands.stream().device(), operands.memory(), sharing));
  HETERO_RETURN_IF_ERROR(store->Initialize(/*seed=*/1, operands.stream()));
  return store;
}

// One sequence of text, every token of which has a loss.
struct Slice {
  std::unique_ptr<ParameterStore> parameters;
  std::unique_ptr<HybridStage> stage;
  std::vector<int32_t> borders;
  TokenBatch batch;
};

absl::StatusOr<Work> SliceWork(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens;
  auto slice = std::make_shared<Slice>();
  HETERO_ASSIGN_OR_RETURN(const HybridConfig config, ConfigOf(sizes, operands.storage()));
  HETERO_ASSIGN_OR_RETURN(slice->parameters, MakeStore(config, {}, operands));
  HETERO_ASSIGN_OR_RETURN(slice->stage, HybridStage::Create(config, {},
                                                            {.parameters = *slice->parameters,
                                                             .device = operands.stream().device(),
                                                             .ledger = operands.memory()}));
  slice->borders = {0, static_cast<int32_t>(t)};
  std::vector<int32_t> ids(t), positions(t), targets(t);
  for (int32_t i = 0; i < t; ++i) {
    ids[i] = static_cast<int32_t>(i * int64_t{16381} % sizes.vocabulary_size);
    targets[i] = static_cast<int32_t>((i + 1) * int64_t{16381} % sizes.vocabulary_size);
    positions[i] = i;
  }
  slice->batch = {.sequences = {.num_rows = 1, .row_length = t, .cu_seqlens = slice->borders},
                  .text_tokens = operands.Indices(ids),
                  .text_positions = operands.Indices(positions),
                  .loss_positions = operands.Indices(positions),
                  .loss_targets = operands.Indices(targets),
                  .loss_weights = operands.Values(operands.compute(), std::vector<double>(t, 1.0))};
  return ForwardBackward(
      [slice](ModuleContext& context) {
        return slice->stage->Forward(context, /*slot=*/0, {.tokens = &slice->batch}).status();
      },
      [slice](ModuleContext& context) {
        return slice->stage->Backward(context, /*slot=*/0, TensorView(), {});
      });
}

// Statistics of gradients, the decision and the update, the report of the step before included.
struct Update {
  std::unique_ptr<ParameterStore> parameters;
  std::unique_ptr<ModuleOptimizer> of_module;
  std::unique_ptr<Optimizer> optimizer;
  TensorView tokens_1;
  bool has_pending = false;
};

absl::StatusOr<Work> UpdateWork(const Sizes& sizes, Operands& operands) {
  Stream& stream = operands.stream();
  auto update = std::make_shared<Update>();
  HETERO_ASSIGN_OR_RETURN(const HybridConfig config, ConfigOf(sizes, operands.storage()));
  const ModuleOptimizerOptions options = {
      .adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.05}};
  HETERO_ASSIGN_OR_RETURN(const Grid grid, Grid::Make({.name = "language", .num_ranks = 1}));
  const GlobalRank rank(0);
  HETERO_ASSIGN_OR_RETURN(update->parameters,
                          MakeStore(config, SharingOf(grid, rank, options.buckets), operands));
  HETERO_ASSIGN_OR_RETURN(update->of_module,
                          ModuleOptimizer::Create(options, *update->parameters, grid, rank,
                                                  stream.device(), operands.memory()));
  HETERO_RETURN_IF_ERROR(update->of_module->LoadMasters(stream));
  std::vector<std::string> names;
  for (const auto& parameter : update->parameters->parameters()) {
    if (!parameter->gradient.is_null()) names.push_back(parameter->spec->name);
  }
  HETERO_ASSIGN_OR_RETURN(LearningRateSchedule rate,
                          LearningRateSchedule::Make({.peak = 1e-4, .decay_samples = 1}));
  HETERO_ASSIGN_OR_RETURN(
      update->optimizer,
      Optimizer::Create({.learning_rate = std::move(rate),
                         .clip_gradient_norm = 1,
                         .modules = {{.name = "language", .parameters = std::move(names)}}},
                        {update->of_module.get()}, /*control=*/nullptr, stream, operands.memory()));
  update->tokens_1 = operands.Values(DType::kF64, std::vector<double>{1.0});
  return Work{.forward = [update](ModuleContext&) -> absl::Status {
    HETERO_RETURN_IF_ERROR(update->optimizer->Queue({.samples = 1, .tokens = update->tokens_1}));
    if (std::exchange(update->has_pending, true)) {
      HETERO_RETURN_IF_ERROR(update->optimizer->Report().status());
    }
    return absl::OkStatus();
  }};
}

}  // namespace

std::vector<Case> SliceCases(const Sizes& sizes) {
  return {{"slice", [=](Operands& operands) { return SliceWork(sizes, operands); }},
          {"slice.optimizer", [=](Operands& operands) { return UpdateWork(sizes, operands); }}};
}

}  // namespace hetero::bench
