#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/attention/attention.h"
#include "hetero/models/blocks/mamba/mamba.h"
#include "hetero/models/blocks/mlp/mlp.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/testing/module_cases.h"

namespace hetero {
namespace {

constexpr int64_t kHidden = 64;

// Three rows of 24 tokens: the second holds two sequences, the last two end with padding.
constexpr int64_t kTokens = 72;
constexpr std::array<int32_t, 5> kSequences = {0, 24, 34, 48, 72};
constexpr std::array<int32_t, 4> kTokenOffsets = {0, 24, 44, 61};

SequenceBatch Batch(ModuleRig& rig) {
  std::vector<int32_t> index;
  for (int32_t t = 0, sequence = 0; t < kTokens; ++t) {
    if (t == kSequences[sequence + 1]) ++sequence;
    index.push_back(sequence);
  }
  return {.num_rows = 3,
          .row_length = 24,
          .cu_seqlens = kSequences,
          .sequence_index = rig.Upload(ConstTensorView(index.data(), DType::kI32, {kTokens})),
          .token_offsets = kTokenOffsets,
          .device_token_offsets = rig.Upload(
              ConstTensorView(kTokenOffsets.data(), DType::kI32, {std::ssize(kTokenOffsets)}))};
}

template <typename Block>
absl::Status RunBlock(ModuleRig& rig, ParameterStore& parameters, const Block& block,
                      ConstTensorView hidden_TH, typename Block::Saved& saved) {
  const TensorView d_hidden_TH = rig.Normal(kTokens, kHidden);
  HETERO_ASSIGN_OR_RETURN(const TensorView out_TH,
                          block.Forward(rig.context(), hidden_TH, Batch(rig), saved));
  rig.Keep("out", out_TH);
  HETERO_RETURN_IF_ERROR(block.Backward(rig.context(), saved, d_hidden_TH));
  rig.Keep("d hidden", d_hidden_TH);
  return rig.KeepGradients(parameters);
}

template <typename Block, typename Config>
absl::Status RunMixer(ModuleRig& rig, Config config) {
  config.hidden_size = kHidden;
  config.storage = rig.storage();
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(Block::Parameters(config, "")));
  ParameterStore& parameters = rig.MakeParameters(table);
  HETERO_ASSIGN_OR_RETURN(const Block block, Block::Create(config, "", parameters, nullptr));
  typename Block::Saved saved;
  return RunBlock(rig, parameters, block, rig.Normal(kTokens, kHidden), saved);
}

// The first head's steps are below the limits, the second's above, the others' between: no rounding
// moves one across.
absl::Status RunLimitedMamba(ModuleRig& rig) {
  const MambaConfig config = {.hidden_size = kHidden,
                              .num_heads = 4,
                              .head_dim = 16,
                              .num_groups = 2,
                              .state_size = 16,
                              .conv_kernel = 3,
                              .chunk_size = 16,
                              .conv_bias = false,
                              .use_bias = true,
                              .steps = {.min = 1e-3, .max = 4},
                              .storage = rig.storage()};
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(MambaBlock::Parameters(config, "")));
  ParameterStore& parameters = rig.MakeParameters(table);
  HETERO_ASSIGN_OR_RETURN(Parameter* const dt_bias, parameters.Find("mixer.dt_bias"));
  SetElements(dt_bias->value, std::vector<double>{-16, 16, 0.25, -0.25}, rig.context().stream);
  HETERO_ASSIGN_OR_RETURN(const MambaBlock block,
                          MambaBlock::Create(config, "", parameters, nullptr));
  MambaBlock::Saved saved;
  return RunBlock(rig, parameters, block, rig.Normal(kTokens, kHidden), saved);
}

// A token likes two experts of a group: with a part of their router rows it stays clear of ties.
TensorView TokensForExperts(ModuleRig& rig, const ConstTensorView& router_EH, int64_t of_group) {
  const std::vector<double> router = rig.Download(router_EH);
  std::vector<double> hidden = rig.Download(rig.Normal(kTokens, kHidden));
  const int64_t num_experts = router_EH.dim(0);
  for (int64_t t = 0; t < kTokens; ++t) {
    const int64_t first = t % num_experts, other = t + 1 + t / num_experts % (of_group - 1);
    for (const int64_t e : {first, first / of_group * of_group + other % of_group}) {
      for (int64_t h = 0; h < kHidden; ++h) {
        hidden[t * kHidden + h] += 16 * router[e * kHidden + h];
      }
    }
  }
  return rig.Matrix(kTokens, kHidden, hidden);
}

// How far the last chosen expert is above the first one that is not, in the token where that is
// least; of groups likewise, by their two best.
double SmallestMargin(const std::vector<double>& logits_TE, const std::vector<double>& bias_E,
                      const MoeConfig& config) {
  double smallest = 1;
  const auto margin = [&](std::vector<double>& values, int64_t chosen) {
    std::ranges::sort(values, std::greater<>());
    if (chosen < std::ssize(values)) {
      smallest = std::min(smallest, values[chosen - 1] - values[chosen]);
    }
  };
  const size_t num_experts = bias_E.size();
  const int64_t of_group = config.num_experts / config.groups.count;
  for (size_t t = 0; t < logits_TE.size() / num_experts; ++t) {
    std::vector<double> scores;
    for (size_t e = 0; e < num_experts; ++e) {
      scores.push_back(1 / (1 + std::exp(-logits_TE[t * num_experts + e])) + bias_E[e]);
    }
    std::vector<double> sums, best = {0, 0};
    for (auto begin = scores.begin(); begin != scores.end(); begin += of_group) {
      std::vector<double> group(begin, begin + of_group);
      std::ranges::sort(group, std::greater<>());
      sums.push_back(group[0] + group[1]);
      if (sums.back() > best[0] + best[1]) best = std::move(group);
    }
    margin(sums, config.groups.chosen);
    margin(config.groups.limit() ? best : scores, config.top_k);
  }
  return smallest;
}

absl::Status RunExperts(ModuleRig& rig, MoeConfig config) {
  config.hidden_size = kHidden;
  config.num_experts = 8;
  config.top_k = 2;
  config.ffn_size = 48;
  config.router_scaling = 2.5;
  config.aux_loss_coefficient = 0.05;
  config.expert_bias_rate = 1e-3;
  config.storage = rig.storage();
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(MoeBlock::Parameters(config, "")));
  ParameterStore& parameters = rig.MakeParameters(table);
  const MoeStatistics statistics = {
      .tokens_per_expert_E = rig.Zeros(DType::kI64, config.num_experts),
      .balance_loss_1 = rig.Zeros(ComputeDType(rig.storage()), 1)};
  HETERO_ASSIGN_OR_RETURN(const MoeBlock block,
                          MoeBlock::Create(config, "", parameters, statistics, nullptr, nullptr,
                                           rig.device(), rig.memory()));
  HETERO_ASSIGN_OR_RETURN(Parameter* const router, parameters.Find("mlp.router.weight"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const bias, parameters.Find("mlp.router.expert_bias"));
  std::vector<double> small_bias = rig.Download(bias->value);
  for (double& value : small_bias) value /= 8;
  SetElements(bias->value, small_bias, rig.context().stream);
  MoeBlock::Saved saved;
  HETERO_RETURN_IF_ERROR(RunBlock(
      rig, parameters, block,
      TokensForExperts(rig, router->value, config.num_experts / config.groups.count), saved));
  const double margin =
      SmallestMargin(rig.Download(saved.logits_TE), rig.Download(bias->value), config);
  // Several times what the roundings of bf16 move a score.
  if (margin < 0.02) {
    return absl::InternalError(absl::StrCat("a token's choice hangs on ", margin));
  }
  rig.Keep("experts", saved.experts_TK);
  rig.Keep("tokens per expert", statistics.tokens_per_expert_E);
  rig.Keep("balance loss", statistics.balance_loss_1);
  HETERO_RETURN_IF_ERROR(block.UpdateExpertBias({}, rig.context().stream));
  rig.Keep("expert bias", bias->value);
  return absl::OkStatus();
}

}  // namespace

std::vector<ModuleCase> BlockCases() {
  return {
      // normed, qkv, scores, probabilities, output; their gradients, the scores' twice.
      {.name = "Attention",
       .roundings = 12,
       .longest_sum = kTokens,
       .run =
           [](ModuleRig& rig) {
             return RunMixer<AttentionBlock>(
                 rig, AttentionConfig{.num_heads = 4, .num_kv_groups = 2, .head_dim = 16});
           }},
      {.name = "AttentionWithBiases",
       .roundings = 12,
       .longest_sum = kTokens,
       .run =
           [](ModuleRig& rig) {
             return RunMixer<AttentionBlock>(
                 rig, AttentionConfig{
                          .num_heads = 4, .num_kv_groups = 2, .head_dim = 16, .use_bias = true});
           }},
      // normed, projected, convolution, steps, decays, decayed inputs, states, products of a chunk,
      // scan, gated, normed; their gradients. A head's sums run over its columns too.
      {.name = "Mamba",
       .roundings = 24,
       .longest_sum = kTokens * 16,
       .run =
           [](ModuleRig& rig) {
             return RunMixer<MambaBlock>(rig, MambaConfig{.num_heads = 4,
                                                          .head_dim = 16,
                                                          .num_groups = 2,
                                                          .state_size = 16,
                                                          .chunk_size = 16});
           }},
      {.name = "LimitedMamba",
       .roundings = 24,
       .longest_sum = kTokens * 16,
       .run = RunLimitedMamba},
      // normed, inner twice (it is squared), activated; their gradients.
      {.name = "Mlp",
       .roundings = 9,
       .longest_sum = 96,
       .run = [](ModuleRig& rig) { return RunMixer<MlpBlock>(rig, MlpConfig{.ffn_size = 96}); }},
      {.name = "MlpWithBiases",
       .roundings = 9,
       .longest_sum = 96,
       .run =
           [](ModuleRig& rig) {
             return RunMixer<MlpBlock>(rig, MlpConfig{.ffn_size = 96, .use_bias = true});
           }},
      // As the MLP, and the probability that multiplies an expert's output.
      {.name = "Experts",
       .roundings = 12,
       .longest_sum = kTokens,
       .run = [](ModuleRig& rig) { return RunExperts(rig, {.shared_ffn_size = 40}); }},
      {.name = "ExpertsInGroups",
       .roundings = 12,
       .longest_sum = kTokens,
       .run =
           [](ModuleRig& rig) {
             return RunExperts(
                 rig, {.groups = {.count = 2, .chosen = 1}, .normalize_probabilities = false});
           }},
  };
}

}  // namespace hetero
