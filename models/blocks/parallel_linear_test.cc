#include "hetero/models/blocks/parallel_linear.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

constexpr int64_t kHidden = 6;
constexpr int64_t kInner = 8;

std::vector<ParameterSpec> Specs() {
  return {{.name = "up",
           .shape = {kInner, kHidden},
           .storage = DType::kF64,
           .init = Init::Normal(1),
           .dims = {{ShardAxis::kTp, {}}, {}}},
          {.name = "down",
           .shape = {kHidden, kInner},
           .storage = DType::kF64,
           .init = Init::Normal(1),
           .dims = {{}, {ShardAxis::kTp, {}}}},
          {.name = "up bias",
           .shape = {kInner},
           .storage = DType::kF64,
           .init = Init::Constant(0),
           .dims = {{ShardAxis::kTp, {}}}},
          {.name = "down bias",
           .shape = {kHidden},
           .storage = DType::kF64,
           .init = Init::Constant(0),
           .partial_over_tp = true}};
}

// hidden + (hidden upᵀ + up bias) downᵀ + down bias, the latter two with `biases`.
absl::Status RunPair(ParallelRig& rig, int64_t tokens, bool biases = false) {
  ParameterStore& parameters = rig.MakeParameters(ParameterTable::Make(Specs()).value());
  const SequenceParallel sequence(rig.communicators().Of(Family::kTp));
  HETERO_ASSIGN_OR_RETURN(Parameter* const up_weight, parameters.Find("up"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const down_weight, parameters.Find("down"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const up_bias, parameters.Find("up bias"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const down_bias, parameters.Find("down bias"));
  const ColumnLinear up(sequence, up_weight, biases ? up_bias : nullptr);
  const RowLinear down(sequence, down_weight, biases ? down_bias : nullptr);
  ModuleContext& context = rig.context();
  for (const int64_t lane : rig.lanes()) {
    const TensorView hidden_RH = rig.OwnRows(rig.Normal("hidden", lane, tokens, kHidden));
    HETERO_ASSIGN_OR_RETURN(const TensorView inner_TN,
                            context.activations.Allocate(DType::kF64, {tokens, up.width()}));
    HETERO_RETURN_IF_ERROR(up.Forward(context, hidden_RH, inner_TN));
    HETERO_ASSIGN_OR_RETURN(const TensorView out_RH, down.Forward(context, inner_TN, hidden_RH));
    rig.KeepRows("out", lane, out_RH, tokens);

    const TensorView d_out_RH = rig.OwnRows(rig.Normal("d out", lane, tokens, kHidden));
    ArenaScope scope(context.stream.workspace());
    HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_TN,
                            down.Backward(context, d_out_RH, inner_TN));
    HETERO_ASSIGN_OR_RETURN(const TensorView d_hidden_RH,
                            up.Backward(context, d_inner_TN, hidden_RH));
    rig.KeepGradientRows("d hidden", lane, d_hidden_RH, tokens);
  }
  return rig.KeepGradients(parameters);
}

// Tokens: as many as fill the shards, fewer, and fewer than there are ranks.
TEST(ParallelLinearTest, EqualsOneRank) {
  for (const int64_t tp : {2, 4}) {
    for (const int64_t tokens : {8, 21, 3}) {
      for (const bool later : {false, true}) {
        SCOPED_TRACE(tokens);
        ExpectLikeOneRank({.name = "module", .num_ranks = tp, .tp = tp},
                          [&](ParallelRig& rig) { return RunPair(rig, tokens); },
                          {.weight_gradients_later = later});
      }
    }
  }
}

TEST(ParallelLinearTest, BiasesAreAddedOnce) {
  for (const int64_t tokens : {8, 21, 0}) {
    SCOPED_TRACE(tokens);
    ExpectLikeOneRank({.name = "module", .num_ranks = 4, .tp = 4},
                      [&](ParallelRig& rig) { return RunPair(rig, tokens, /*biases=*/true); });
  }
}

TEST(ParallelLinearTest, EqualsOneRankOnLanes) {
  ExpectLikeOneRank({.name = "module", .num_ranks = 4, .tp = 2},
                    [](ParallelRig& rig) { return RunPair(rig, 21); });
}

}  // namespace
}  // namespace hetero
