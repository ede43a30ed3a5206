#ifndef HETERO_MODELS_BLOCKS_MOE_MOE_HARNESS_H_
#define HETERO_MODELS_BLOCKS_MOE_MOE_HARNESS_H_

// A block of experts for tests, alone on the CPU.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"

namespace hetero {

inline MoeConfig SmallMoeConfig(DType storage) {
  return {.hidden_size = 6,
          .num_experts = 5,
          .top_k = 2,
          .ffn_size = 4,
          .shared_ffn_size = 7,
          .router_scaling = 2.5,
          .aux_loss_coefficient = 0.05,
          .expert_bias_rate = 1e-3,
          .init_std = 0.5,
          .output_init_std = 0.5,
          .storage = storage};
}

// A block with random parameters, an input and a gradient of its output.
template <typename T>
struct MoeHarness {
  MoeHarness(MoeConfig moe_config, int64_t num_rows, int64_t row_length)
      : config(moe_config),
        batch{.num_rows = num_rows, .row_length = row_length},
        hidden(std::max<int64_t>(1, batch.num_tokens() * config.hidden_size)),
        d_out(hidden.size()),
        counts(config.num_experts) {
    for (const auto& parameter : store->parameters()) {
      if (parameter->spec->is_buffer) continue;
      FillRandom(parameter->value, parameters_seed++, 0.5, 0.2);
    }
    FillRandom(View(hidden), 77, 1);
    FillRandom(View(d_out), 78, 1);
  }

  TensorView View(std::vector<T>& values) {
    return {values.data(), kDTypeOf<T>, {batch.num_tokens(), config.hidden_size}};
  }
  Parameter& Get(std::string_view name) { return *store->Find(name).value(); }
  std::vector<double> Weight(std::string_view name) {
    const auto values = Get(name).value.template values<T>();
    return {values.begin(), values.end()};
  }
  std::vector<T> Forward(Mode mode = Mode::kTrain) {
    context->mode = mode;
    const absl::StatusOr<TensorView> out = block.Forward(*context, View(hidden), batch, saved);
    EXPECT_THAT(out, ::absl_testing::IsOk());
    const auto values = out->template values<T>();
    return {values.begin(), values.end()};
  }
  std::vector<T> Backward() {
    std::vector<T> gradient = d_out;
    EXPECT_THAT(block.Backward(*context, saved, View(gradient)), ::absl_testing::IsOk());
    return gradient;
  }
  // <d_out, out> + the balance loss as a step weighs it.
  double Loss() {
    context.Reset();
    balance_loss[0] = 0;
    const std::vector<T> out = Forward();
    return std::inner_product(out.begin(), out.end(), d_out.begin(), 0.0) +
           config.aux_loss_coefficient * balance_loss[0];
  }

  MoeConfig config;
  SequenceBatch batch;
  std::vector<T> hidden, d_out;
  std::vector<int64_t> counts;
  std::vector<T> balance_loss = std::vector<T>(1);
  MemoryLedger memory;
  uint64_t parameters_seed = 1;
  std::unique_ptr<ParameterStore> store =
      ParameterStore::Create(ParameterTable::Make(MoeBlock::Parameters(config, "")).value(), {}, {},
                             memory)
          .value();
  MoeBlock block =
      MoeBlock::Create(config, "", *store,
                       {.tokens_per_expert_E = {counts.data(), DType::kI64, {config.num_experts}},
                        .balance_loss_1 = {balance_loss.data(), kDTypeOf<T>, {1}}},
                       nullptr, nullptr, {}, memory)
          .value();
  MoeBlock::Saved saved;
  TestContext context;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MOE_MOE_HARNESS_H_
