// Two ranks share a layer, each on a GPU over NCCL where there are two, and else on one: what runs
// beside the products changes no bit.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/testing/module_rig.h"
#include "hetero/params/table.h"
#include "hetero/tensor/gpus.h"
#include "hetero/tensor/side_stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr int64_t kRanks = 2;
constexpr int64_t kTokens = 1024;
constexpr int64_t kHidden = 256;
constexpr int kTurns = 3;

struct Setting {
  std::string name;
  double expert_rows_bound = 2;  // below 1: rounds
  bool weight_gradients_later = false;
};

// Several microbatches back to back; nothing waits on the host but where counts are read.
absl::Status RunLayer(ModuleRig& rig, const Setting& setting, GlobalRank rank,
                      CommunicatorFactory& factory, std::string_view channel) {
  const Group members = {GlobalRank(0), GlobalRank(1)};
  HETERO_ASSIGN_OR_RETURN(const auto tensor_parallel,
                          factory.Create({absl::StrCat(channel, ".tp"), members}));
  HETERO_ASSIGN_OR_RETURN(const auto expert_parallel,
                          factory.Create({absl::StrCat(channel, ".ep"), members}));
  if (setting.weight_gradients_later) rig.LeaveWeightGradients();
  const MoeConfig config = {.hidden_size = kHidden,
                            .num_experts = 8,
                            .top_k = 3,
                            .ffn_size = 384,
                            .shared_ffn_size = 512,
                            .router_scaling = 2.5,
                            .aux_loss_coefficient = 1e-2,
                            .expert_rows_bound = setting.expert_rows_bound,
                            .storage = rig.storage()};
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(MoeBlock::Parameters(config, "")));
  const ShardSpec::Axis place = {.rank = rank.value(), .size = kRanks};
  ParameterStore& parameters = rig.MakeParameters(table, {.tp = place, .ep = place});
  const MoeStatistics statistics = {
      .tokens_per_expert_E = rig.Zeros(DType::kI64, config.num_experts),
      .balance_loss_1 = rig.Zeros(DType::kF32, 1)};
  HETERO_ASSIGN_OR_RETURN(
      const MoeBlock block,
      MoeBlock::Create(config, "", parameters, statistics, tensor_parallel.get(),
                       expert_parallel.get(), rig.device(), rig.memory()));
  const std::vector<int32_t> sequences = {0, kTokens};
  const SequenceBatch batch = {.num_rows = 1, .row_length = kTokens, .cu_seqlens = sequences};
  struct Turn {
    TensorView hidden, gradient, out;
    MoeBlock::Saved saved;
  };
  std::array<Turn, kTurns> turns;
  for (Turn& turn : turns) {
    turn.hidden = rig.Normal(kTokens / kRanks, kHidden);
    turn.gradient = rig.Normal(kTokens / kRanks, kHidden);
  }
  ModuleContext& context = rig.context();
  for (Turn& turn : turns) {
    HETERO_ASSIGN_OR_RETURN(turn.out, block.Forward(context, turn.hidden, batch, turn.saved));
    HETERO_RETURN_IF_ERROR(block.Backward(context, turn.saved, turn.gradient));
  }
  for (int i = 0; i < kTurns; ++i) {
    rig.Keep(absl::StrCat("out ", i), turns[i].out);
    rig.Keep(absl::StrCat("d hidden ", i), turns[i].gradient);
  }
  HETERO_RETURN_IF_ERROR(rig.KeepGradients(parameters));
  return context.stream.Synchronize();
}

absl::Status ExpectEqual(const ModuleRig& actual, const ModuleRig& expected) {
  for (const auto& [name, kept] : expected.kept()) {
    if (actual.kept().at(name).values != kept.values) {
      return absl::InternalError(absl::StrCat(name, " differs"));
    }
  }
  return absl::OkStatus();
}

TEST(OverlapCudaTest, ChangesNoBit) {
  const absl::StatusOr<int> num_gpus = CountGpus();
  ASSERT_THAT(num_gpus, IsOk());
  const bool one_each = *num_gpus >= kRanks;
  const RunRanksOptions options = {
      .timeout = absl::Seconds(60),
      .backend = one_each ? RankBackend::kNccl : RankBackend::kThreads,
      .devices = {{DeviceKind::kCuda, 0}, {DeviceKind::kCuda, one_each ? 1 : 0}}};
  for (const Setting& setting :
       std::vector<Setting>{{.name = "one round"},
                            {.name = "weights later", .weight_gradients_later = true},
                            {.name = "rounds", .expert_rows_bound = 0.4},
                            {.name = "rounds, weights later",
                            .expert_rows_bound = 0.4,
                            .weight_gradients_later = true}}) {
    EXPECT_THAT(
        RunRanks(
            kRanks,
            [&](GlobalRank rank, CommunicatorFactory& factory) {
              const Device device = options.devices[static_cast<size_t>(rank.value())];
              ModuleRig beside(device, DType::kBF16, DType::kBF16);
              ModuleRig in_turn(device, DType::kBF16, DType::kBF16);
              return AbortOnFailure(rank, factory, [&]() -> absl::Status {
                HETERO_RETURN_IF_ERROR(RunLayer(beside, setting, rank, factory, "beside"));
                HETERO_ASSIGN_OR_RETURN(SideStream* const side,
                                        in_turn.context().stream.State<SideStream>());
                side->set_overlaps(false);
                HETERO_RETURN_IF_ERROR(RunLayer(in_turn, setting, rank, factory, "in_turn"));
                return ExpectEqual(beside, in_turn);
              });
            },
            options),
        IsOk())
        << setting.name;
  }
}

}  // namespace
}  // namespace hetero
