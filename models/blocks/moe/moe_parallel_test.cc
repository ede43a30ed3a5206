// The block on ranks that divide its tokens and experts, against one rank that has all.

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/params/table.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {
namespace {

constexpr int64_t kLength = 7;

MoeConfig SmallConfig() {
  return {.hidden_size = 6,
          .num_experts = 8,
          .top_k = 2,
          .ffn_size = 4,
          .shared_ffn_size = 8,
          .router_scaling = 2.5,
          .aux_loss_coefficient = 0.05,
          .expert_bias_rate = 1e-3,
          .storage = DType::kF64};
}

struct MoeCase {
  GridSpec grid;
  MoeConfig config = SmallConfig();
  int64_t num_sequences = 3;
  // Tokens of each sequence, of kLength places; empty: all.
  std::vector<int32_t> lengths = {};
  std::vector<double> bias = {};  // of the experts; empty: none
  LikeOneRankOptions options = {};
};

// What ranks count on the host.
struct Seen {
  std::mutex mutex;
  int64_t exchanges = 0;
  int64_t rounds = 0;
};

absl::Status RunExperts(ParallelRig& rig, const MoeCase& of, Seen& seen) {
  const MoeConfig& config = of.config;
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(MoeBlock::Parameters(config, "layer.")));
  ParameterStore& parameters = rig.MakeParameters(table);
  HETERO_ASSIGN_OR_RETURN(Parameter* const bias, parameters.Find("layer.mlp.router.expert_bias"));
  if (!rig.shape_only()) {
    std::ranges::fill(bias->value.values<double>(), 0.0);
    std::ranges::copy(of.bias, bias->value.values<double>().begin());
  }
  ExchangeCounts exchanges;
  const MoeStatistics statistics = {
      .tokens_per_expert_E = rig.Zeros(DType::kI64, config.num_experts),
      .balance_loss_1 = rig.Zeros(DType::kF64, 1),
      .exchanges = &exchanges};
  const StageResources resources = rig.Resources(parameters);
  HETERO_ASSIGN_OR_RETURN(const MoeBlock block,
                          MoeBlock::Create(config, "layer.", parameters, statistics,
                                           resources.communicators.Of(Family::kTp),
                                           resources.communicators.Of(Family::kTpEp),
                                           resources.device, resources.ledger));
  SequenceBatch batch = rig.Sequences(of.num_sequences, kLength);
  if (!of.lengths.empty()) {
    std::vector<int32_t> offsets = {0};
    for (const int32_t length : of.lengths) offsets.push_back(offsets.back() + length);
    batch.device_token_offsets = rig.Int32s(std::move(offsets));
    batch.token_offsets = batch.device_token_offsets.values<int32_t>();
  }
  const int64_t tokens = batch.num_tokens();
  // Until the queue has run.
  std::vector<MoeBlock::Saved> saved(rig.lanes().size());
  size_t next = 0;
  for (const int64_t lane : rig.lanes()) {
    const TensorView hidden_TH =
        rig.OwnRows(rig.Normal("hidden", lane, tokens, config.hidden_size));
    HETERO_ASSIGN_OR_RETURN(const TensorView out_TH,
                            block.Forward(rig.context(), hidden_TH, batch, saved[next]));
    rig.KeepRows("out", lane, out_TH, tokens);
    const TensorView d_hidden_TH =
        rig.OwnRows(rig.Normal("d out", lane, tokens, config.hidden_size));
    HETERO_RETURN_IF_ERROR(block.Backward(rig.context(), saved[next++], d_hidden_TH));
    rig.KeepGradientRows("d hidden", lane, d_hidden_TH, tokens);
  }
  rig.KeepPart("balance loss", statistics.balance_loss_1);
  if (!rig.shape_only()) {
    const auto counts = statistics.tokens_per_expert_E.values<int64_t>();
    const std::vector<double> tokens_per_expert(counts.begin(), counts.end());
    rig.KeepPart("tokens per expert",
                 ConstTensorView(std::span(tokens_per_expert), {config.num_experts}));
    const std::lock_guard lock(seen.mutex);
    seen.exchanges += exchanges.exchanges;
    seen.rounds += exchanges.rounds;
  }
  return rig.KeepGradients(parameters);
}

// Rounds beyond the first of all ranks, and whether any rank exchanged rows.
struct Excess {
  int64_t rounds = 0;
  bool exchanges = false;
};

Excess ExpectExpertsLikeOneRank(MoeCase of) {
  Seen seen;
  of.grid.name = "module";
  of.options.predictable_operations = false;
  ExpectLikeOneRank(
      of.grid, [&](ParallelRig& rig) { return RunExperts(rig, of, seen); }, of.options);
  return {.rounds = seen.rounds - seen.exchanges, .exchanges = seen.exchanges > 0};
}

const GridSpec kGrids[] = {
    {.num_ranks = 2, .tp = 2},  // all experts on each
    {.num_ranks = 2, .ep = 2},  // two lanes
    {.num_ranks = 2, .tp = 2, .ep = 2},
    {.num_ranks = 2, .tp = 2, .expt_tp = 2},
    {.num_ranks = 4, .tp = 4, .ep = 4},
    {.num_ranks = 4, .tp = 2, .ep = 4},
    {.num_ranks = 4, .tp = 2, .ep = 2},
    {.num_ranks = 4, .tp = 2, .ep = 2, .expt_tp = 2},
    {.num_ranks = 4, .tp = 1, .ep = 2, .expt_tp = 1},
    {.num_ranks = 4, .tp = 4, .ep = 1, .expt_tp = 2},
};

class MoeGridTest : public ::testing::TestWithParam<GridSpec> {};

TEST_P(MoeGridTest, EqualsOneRank) {
  for (const int64_t num_sequences : {1, 3}) {
    MoeCase of{.grid = GetParam(), .num_sequences = num_sequences};
    of.bias = {0, 0.1, 0, -0.1, 0, 0.05, 0, 0};
    const Excess excess = ExpectExpertsLikeOneRank(of);
    EXPECT_EQ(excess.rounds, 0);
    EXPECT_EQ(excess.exchanges, GetParam().ep * GetParam().expt_tp > 1);
  }
}

TEST_P(MoeGridTest, EqualsOneRankWithPaddingAndLaterWeightGradients) {
  ExpectExpertsLikeOneRank(
      {.grid = GetParam(), .lengths = {3, 0, 5}, .options = {.weight_gradients_later = true}});
}

// A bias that puts every token on experts 1 and 2 and none on the others, and room for a third of
// the mean: nothing is lost, nothing fails.
TEST_P(MoeGridTest, EqualsOneRankInRounds) {
  for (const bool later : {false, true}) {
    // What waits for the queue is made again instead, and takes less memory.
    MoeCase of{.grid = GetParam(),
               .options = {.weight_gradients_later = later, .predictable = !later}};
    of.bias = {-10, 10, 10, -10, -10, -10, -10, -10};
    of.config.expert_rows_bound = 0.3;
    const Excess excess = ExpectExpertsLikeOneRank(of);
    EXPECT_EQ(excess.rounds > 0, excess.exchanges);
  }
}

TEST_P(MoeGridTest, EqualsOneRankWithSelectiveRecompute) {
  for (const bool later : {false, true}) {
    for (const bool in_rounds : {false, true}) {
      MoeCase of{.grid = GetParam(),
                 .options = {.weight_gradients_later = later,
                             .selective_recompute = true,
                             .predictable = !later || !in_rounds}};
      of.bias = {0, 0.1, 0, -0.1, 0, 0.05, 0, 0};
      if (in_rounds) of.config.expert_rows_bound = 0.3;
      ExpectExpertsLikeOneRank(of);
    }
  }
}

// Groups and probabilities as they are; rows travel without a shared expert beside them.
TEST_P(MoeGridTest, EqualsOneRankWithoutASharedExpert) {
  for (const bool later : {false, true}) {
    MoeCase of{
        .grid = GetParam(), .lengths = {7, 2, 5}, .options = {.weight_gradients_later = later}};
    of.config.shared_ffn_size = 0;
    of.config.groups = {.count = 4, .chosen = 2};
    of.config.normalize_probabilities = false;
    ExpectExpertsLikeOneRank(of);
  }
}

INSTANTIATE_TEST_SUITE_P(Grids, MoeGridTest, ::testing::ValuesIn(kGrids), [](const auto& info) {
  const GridSpec& grid = info.param;
  return absl::StrCat("Ranks", grid.num_ranks, "Tp", grid.tp, "Ep", grid.ep, "ExptTp",
                      grid.expt_tp);
});

TEST(MoeParallelTest, OneTokenForFourRanks) {
  MoeCase of{.grid = {.num_ranks = 4, .tp = 4, .ep = 4}, .num_sequences = 1, .lengths = {1}};
  ExpectExpertsLikeOneRank(of);
}

TEST(MoeParallelTest, TopOneAndForcedBalance) {
  MoeCase of{.grid = {.num_ranks = 4, .tp = 2, .ep = 4}};
  of.config.top_k = 1;
  ExpectExpertsLikeOneRank(of);
  of.config.top_k = 2;
  of.config.aux_loss_coefficient = 0;
  of.config.force_load_balancing = true;
  ExpectExpertsLikeOneRank(of);
}

}  // namespace
}  // namespace hetero
