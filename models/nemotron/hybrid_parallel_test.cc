// The stages of a language model on tensor-parallel ranks against one rank.

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/testing/parallel_microbatch.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {
namespace {

constexpr int64_t kHidden = 8;
constexpr int64_t kSequenceLength = 7;

// Every kind of block in widths that four ranks divide.
HybridConfig Config(std::string_view pattern, int64_t vocabulary_size) {
  HybridConfig config{
      .pattern = LayerPattern::Parse(pattern).value(),
      .hidden_size = kHidden,
      .vocabulary_size = vocabulary_size,
      .storage = DType::kF64,
      .attention = {.num_heads = 8, .num_kv_groups = 2, .head_dim = 4},
      .mamba = {.num_heads = 8, .head_dim = 4, .num_groups = 4, .state_size = 4, .chunk_size = 4},
      .experts = {.num_experts = 4,
                  .top_k = 2,
                  .ffn_size = 8,
                  .shared_ffn_size = 8,
                  .router_scaling = 2.5,
                  .aux_loss_coefficient = 0.05,
                  .expert_bias_rate = 1e-3},
      .mlp = {.ffn_size = 12}};
  const auto common = [&](auto& block) {
    block.hidden_size = config.hidden_size;
    block.storage = config.storage;
  };
  common(config.attention);
  common(config.mamba);
  common(config.experts);
  common(config.mlp);
  return config;
}

void TakeOthers(HybridConfig& config) {
  config.tie_embeddings = true;
  config.attention.use_bias = config.mlp.use_bias = config.mamba.use_bias = true;
  config.mamba.conv_bias = false;
  config.mamba.steps = {.min = 1e-3, .max = 20};
  config.experts.shared_ffn_size = 0;
  config.experts.groups = {.count = 2, .chosen = 1};
  config.experts.normalize_probabilities = false;
}

struct Stages {
  std::vector<ParameterStore*> parameters;
  std::vector<std::unique_ptr<HybridStage>> stages;
};

absl::StatusOr<Stages> MakeStages(ParallelRig& rig, const HybridConfig& config, int num_stages) {
  ShardSpec shard = rig.shard();
  shard.pp.size = num_stages;
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, MakeHybridTable(config, shard));
  Stages result;
  for (int s = 0; s < num_stages; ++s) {
    result.parameters.push_back(&rig.MakeParameters(table.Stage(s)));
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<HybridStage> stage,
                            HybridStage::Create(config, {.stage = s, .num_stages = num_stages},
                                                rig.Resources(*result.parameters.back())));
    result.stages.push_back(std::move(stage));
  }
  return result;
}

// Forward through all stages; returns what goes from each to the next.
absl::StatusOr<std::vector<TensorView>> Forward(ParallelRig& rig, const Stages& model,
                                                const ParallelMicrobatch& microbatch) {
  std::vector<TensorView> between;
  for (const auto& stage : model.stages) {
    StageInput input{.tokens = &microbatch.batch()};
    if (between.empty()) {
      input.edges = microbatch.edges();
    } else {
      input.previous_stage = between.back();
    }
    HETERO_ASSIGN_OR_RETURN(const TensorView out, stage->Forward(rig.context(), 0, input));
    if (!out.is_null()) between.push_back(out);
  }
  return between;
}

absl::Status Backward(ParallelRig& rig, int64_t lane, const Stages& model,
                      const ParallelMicrobatch& microbatch,
                      const std::vector<TensorView>& between) {
  TensorView gradient;
  for (size_t s = model.stages.size(); s-- > 0;) {
    StageInputGradients d_input;
    if (s > 0) {
      HETERO_ASSIGN_OR_RETURN(d_input.previous_stage, rig.context().activations.Allocate(
                                                          DType::kF64, between[s - 1].dims()));
    } else {
      d_input.edges = microbatch.d_edges();
    }
    HETERO_RETURN_IF_ERROR(model.stages[s]->Backward(rig.context(), 0, gradient, d_input));
    gradient = d_input.previous_stage;
    if (s > 0) {
      rig.KeepGradientRows(absl::StrCat("d input of stage ", s), lane, gradient,
                           microbatch.batch().sequences.num_tokens());
    }
  }
  microbatch.KeepEdgeGradients(rig);
  return absl::OkStatus();
}

absl::Status KeepStatistics(ParallelRig& rig, const Stages& model, std::string_view name) {
  for (size_t s = 0; s < model.stages.size(); ++s) {
    HETERO_ASSIGN_OR_RETURN(const StageStatistics sums,
                            model.stages[s]->TakeStatistics(rig.context().stream));
    const std::vector<double> values = {sums.loss_sum,
                                        sums.loss_weight,
                                        static_cast<double>(sums.sequences),
                                        static_cast<double>(sums.exact_matches),
                                        sums.balance_loss,
                                        static_cast<double>(sums.balance_tokens),
                                        static_cast<double>(sums.invalid_ids)};
    for (size_t i = 0; i < values.size(); ++i) {
      rig.KeepPart(absl::StrCat(name, " ", i, " of stage ", s),
                   ConstTensorView(&values[i], DType::kF64, {1}));
    }
  }
  return absl::OkStatus();
}

struct Case {
  const char* pattern;
  int num_stages = 1;
  int64_t vocabulary_size = 0;
  bool others = false;  // what is off by default

  friend void PrintTo(const Case& of, std::ostream* out) {
    *out << of.pattern << " in " << of.num_stages << " stages, vocabulary " << of.vocabulary_size
         << (of.others ? ", others" : "");
  }
};

class HybridParallelTest : public ::testing::TestWithParam<Case> {};

// A microbatch of one sequence and of three, whose tokens do not fill the shards; the latter in two
// lanes.
TEST_P(HybridParallelTest, AStepIsThatOfOneRank) {
  HybridConfig config = Config(GetParam().pattern, GetParam().vocabulary_size);
  if (GetParam().others) TakeOthers(config);
  const auto run = [&](ParallelRig& rig, int64_t num_sequences) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(const Stages model, MakeStages(rig, config, GetParam().num_stages));
    for (const int64_t lane : rig.lanes()) {
      const TestTokens tokens = RandomTokens(num_sequences, kSequenceLength, config.vocabulary_size,
                                             rig.Generator("tokens", lane));
      const ParallelMicrobatch microbatch(rig, lane, tokens, kHidden);
      HETERO_ASSIGN_OR_RETURN(const std::vector<TensorView> between,
                              Forward(rig, model, microbatch));
      for (size_t s = 0; s < between.size(); ++s) {
        rig.KeepRows(absl::StrCat("output of stage ", s), lane, between[s], tokens.num_tokens());
      }
      HETERO_RETURN_IF_ERROR(Backward(rig, lane, model, microbatch, between));
    }
    HETERO_RETURN_IF_ERROR(KeepStatistics(rig, model, "training sum"));
    rig.context().mode = Mode::kEval;
    for (const int64_t lane : rig.lanes()) {
      const TestTokens tokens = RandomTokens(num_sequences, kSequenceLength, config.vocabulary_size,
                                             rig.Generator("evaluated tokens", lane));
      const ParallelMicrobatch microbatch(rig, lane, tokens, kHidden);
      HETERO_RETURN_IF_ERROR(Forward(rig, model, microbatch).status());
    }
    HETERO_RETURN_IF_ERROR(KeepStatistics(rig, model, "evaluation sum"));
    for (ParameterStore* parameters : model.parameters) {
      HETERO_RETURN_IF_ERROR(rig.KeepGradients(*parameters));
    }
    return absl::OkStatus();
  };
  const bool predictable = config.pattern.Count(LayerKind::kExperts) == 0;
  for (const int64_t num_ranks : {2, 4}) {
    ExpectLikeOneRank({.name = "language", .num_ranks = num_ranks, .tp = num_ranks},
                      [&](ParallelRig& rig) { return run(rig, 1); }, {.predictable = predictable});
    ExpectLikeOneRank({.name = "language", .num_ranks = 2 * num_ranks, .tp = num_ranks},
                      [&](ParallelRig& rig) { return run(rig, 3); }, {.predictable = predictable});
  }
}

// The vocabulary fills all ranks, leaves the last with fewer rows, or leaves some without.
INSTANTIATE_TEST_SUITE_P(Models, HybridParallelTest,
                         ::testing::Values(Case{"-", 1, 512}, Case{"-|-||-", 4, 300},
                                           Case{"M*-", 1, 40}, Case{"M|*-", 2, 512},
                                           Case{"ME*-", 1, 300}, Case{"E|M*E", 2, 300},
                                           Case{"M*-", 1, 40, true}, Case{"ME*-", 1, 300, true}));

}  // namespace
}  // namespace hetero
