#ifndef HETERO_MODELS_NEMOTRON_HYBRID_HARNESS_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_HARNESS_H_

// A hybrid language model for tests: its stages in a row on the CPU, each with the parameters that
// its pipeline stage owns.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {

// Every kind of block in sizes that finite differences can afford.
inline HybridConfig SmallHybridConfig(std::string_view pattern, DType storage = DType::kF64) {
  HybridConfig config{
      .pattern = LayerPattern::Parse(pattern).value(),
      .hidden_size = 8,
      .vocabulary_size = 40,
      .storage = storage,
      .attention = {.num_heads = 4, .num_kv_groups = 2, .head_dim = 4},
      .mamba = {.num_heads = 4, .head_dim = 4, .num_groups = 2, .state_size = 4, .chunk_size = 4},
      .experts = {.num_experts = 4,
                  .top_k = 2,
                  .ffn_size = 6,
                  .shared_ffn_size = 5,
                  .router_scaling = 2.5,
                  .aux_loss_coefficient = 0.05,
                  .expert_bias_rate = 1e-3},
      .mlp = {.ffn_size = 10}};
  const auto common = [&](auto& block) {
    block.hidden_size = config.hidden_size;
    block.storage = storage;
  };
  common(config.attention);
  common(config.mamba);
  common(config.experts);
  common(config.mlp);
  return config;
}

// The same with what is off by default: biases everywhere but in the convolution, tied embeddings,
// limited steps, and experts in groups without a shared one.
inline HybridConfig OtherHybridConfig(std::string_view pattern, DType storage = DType::kF64) {
  HybridConfig config = SmallHybridConfig(pattern, storage);
  config.tie_embeddings = true;
  config.attention.use_bias = config.mlp.use_bias = config.mamba.use_bias = true;
  config.mamba.conv_bias = false;
  config.mamba.conv_kernel = 3;
  config.mamba.steps = {.min = 1e-3, .max = 20};
  config.experts.shared_ffn_size = 0;
  config.experts.groups = {.count = 2, .chosen = 1};
  config.experts.normalize_probabilities = false;
  return config;
}

template <typename T>
class HybridHarness {
 public:
  explicit HybridHarness(const HybridConfig& hybrid_config, int num_stages = 1)
      : config(hybrid_config) {
    const ShardSpec shard{.pp = {.rank = 0, .size = num_stages}};
    const ParameterTable table = MakeHybridTable(config, shard).value();
    uint64_t seed = 1;
    for (int s = 0; s < num_stages; ++s) {
      stores.push_back(ParameterStore::Create(table.Stage(s), {}, {}, memory).value());
      for (const auto& parameter : stores.back()->parameters()) {
        FillRandom(parameter->value, seed++, 0.4, 0.1);
      }
      stages.push_back(
          HybridStage::Create(
              config, {.stage = s, .num_stages = num_stages},
              {.parameters = *stores.back(), .device = {}, .ledger = memory, .num_slots = 2})
              .value());
    }
    boundaries.resize(2);
  }

  // Parameters of all stages, in the order of the table.
  std::vector<Parameter*> Parameters() {
    std::vector<Parameter*> all;
    for (const auto& store : stores) {
      for (const auto& parameter : store->parameters()) all.push_back(parameter.get());
    }
    return all;
  }
  Parameter& Get(std::string_view name) {
    for (Parameter* parameter : Parameters()) {
      if (parameter->spec->name == name) return *parameter;
    }
    ADD_FAILURE() << "no parameter " << name;
    return *Parameters().front();
  }
  // Gradients of the trainable parameters, one after another.
  std::vector<T> Gradients() {
    std::vector<T> all;
    for (Parameter* parameter : Parameters()) {
      if (parameter->gradient.is_null()) continue;
      const auto values = parameter->gradient.template values<T>();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  // The next gradients overwrite.
  void ForgetGradients() {
    for (Parameter* parameter : Parameters()) parameter->gradient_written = false;
  }

  // `upstream` holds a row for every placeholder.
  absl::Status Forward(const TokenBatch& batch, std::vector<T>& upstream, int slot = 0) {
    boundaries[slot].clear();
    const ConstTensorView rows = Rows(upstream);
    for (const auto& stage : stages) {
      StageInput input{.tokens = &batch};
      if (!boundaries[slot].empty()) {
        input.previous_stage = boundaries[slot].back();
      } else if (!batch.modality_positions.empty()) {
        input.edges = std::span(&rows, 1);
      }
      absl::StatusOr<TensorView> out = stage->Forward(*context, slot, input);
      if (!out.ok()) return out.status();
      boundaries[slot].push_back(*out);
    }
    EXPECT_TRUE(boundaries[slot].back().is_null());
    return absl::OkStatus();
  }

  // `d_upstream` gets the shape of the upstream rows.
  absl::Status Backward(std::vector<T>& d_upstream, int slot = 0) {
    TensorView gradient;
    const TensorView d_rows = Rows(d_upstream);
    for (size_t s = stages.size(); s-- > 0;) {
      StageInputGradients d_input;
      if (s > 0) {
        const ConstTensorView& boundary = boundaries[slot][s - 1];
        d_input.previous_stage =
            context->activations.Allocate(boundary.dtype(), boundary.dims()).value();
      } else if (takes_rows) {
        d_input.edges = {&d_rows, 1};
      }
      const absl::Status status = stages[s]->Backward(*context, slot, gradient, d_input);
      if (!status.ok()) return status;
      gradient = d_input.previous_stage;
    }
    return absl::OkStatus();
  }

  // Sums over the stages.
  StageStatistics Take() {
    StageStatistics total;
    for (const auto& stage : stages) {
      const StageStatistics part = stage->TakeStatistics(context->stream).value();
      total.loss_sum += part.loss_sum;
      total.loss_weight += part.loss_weight;
      total.sequences += part.sequences;
      total.exact_matches += part.exact_matches;
      total.balance_loss += part.balance_loss;
      total.balance_tokens += part.balance_tokens;
    }
    return total;
  }

  // What the gradients of a microbatch are the gradients of; leaves gradients alone.
  double Objective(const TokenBatch& batch, std::vector<T>& upstream) {
    context.Reset();
    Take();
    context->needs_weight_gradient = false;
    EXPECT_THAT(Forward(batch, upstream), ::absl_testing::IsOk());
    context->needs_weight_gradient = true;
    const StageStatistics statistics = Take();
    return statistics.loss_sum + config.experts.aux_loss_coefficient * statistics.balance_loss;
  }

  TensorView Rows(std::vector<T>& rows) {
    rows.reserve(1);
    return {rows.data(), kDTypeOf<T>, {std::ssize(rows) / config.hidden_size, config.hidden_size}};
  }

  HybridConfig config;
  bool takes_rows = true;  // the model has an edge
  MemoryLedger memory;
  std::vector<std::unique_ptr<ParameterStore>> stores;
  std::vector<std::unique_ptr<HybridStage>> stages;
  std::vector<std::vector<ConstTensorView>> boundaries;  // by slot: what each stage returned
  TestContext context;
};

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_HARNESS_H_
