#include "hetero/optim/gradient_sync.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;

std::unique_ptr<ParameterStore> MakeStore(MemoryLedger& memory, const ShardSpec& shard = {}) {
  return ParameterStore::Create(
             ParameterTable::Make(
                 {{.name = "w0", .shape = {10, 10}},
                  {.name = "norm", .shape = {70}, .partial_over_tp = true},
                  {.name = "w1", .shape = {30, 10}},
                  {.name = "router", .shape = {4, 5}, .partial_over_tp = true},
                  {.name = "frozen", .shape = {9}, .trainable = false},
                  {.name = "experts", .shape = {4, 6}, .gradient_group = GradientGroup::kExpert}})
                 .value(),
             shard, Device{}, memory)
      .value();
}

TEST(GradientSyncTest, SumsEachGroupOverItsRanksAndPartialGradientsOverTpToo) {
  std::vector<std::vector<CollectiveCall>> calls(4);
  // tp is {0, 1} and {2, 3}; dense ranks are {0, 2} and {1, 3}; experts are reduced by all.
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    MemoryLedger memory;
    StreamWithWorkspace stream;
    const int64_t i = rank.value();
    const auto make = [&](std::string channel, Group group) {
      return factory.Create({std::move(channel), std::move(group)}).value();
    };
    const auto tp = make(
        "model", i < 2 ? Group{GlobalRank(0), GlobalRank(1)} : Group{GlobalRank(2), GlobalRank(3)});
    const auto dense = make("gradient", i % 2 == 0 ? Group{GlobalRank(0), GlobalRank(2)}
                                                   : Group{GlobalRank(1), GlobalRank(3)});
    const auto expert =
        make("gradient", {GlobalRank(0), GlobalRank(1), GlobalRank(2), GlobalRank(3)});
    const auto store = MakeStore(memory, {.tp = {i % 2, 2}});
    GradientSync sync("language", *store,
                      {.dense = dense.get(), .expert = expert.get(), .partial = {{2, tp.get()}}},
                      /*bucket_elements=*/200);
    const float own = static_cast<float>(1 << i);
    for (const auto& parameter : store->parameters()) {
      if (parameter->gradient.is_null()) continue;
      for (float& value : parameter->gradient.values<float>()) value = own;
    }
    stream->ledger().RecordCollectives(true);
    HETERO_RETURN_IF_ERROR(sync.Run(*stream));
    calls[static_cast<size_t>(i)] = stream->ledger().collectives();
    const float dense_sum = i % 2 == 0 ? 1 + 4 : 2 + 8;
    for (const auto& parameter : store->parameters()) {
      if (parameter->gradient.is_null()) continue;
      const bool over_all = parameter->spec->partial_over_tp ||
                            parameter->spec->gradient_group == GradientGroup::kExpert;
      for (const float value : parameter->gradient.values<float>()) {
        if (value != (over_all ? 15 : dense_sum)) return absl::InternalError(parameter->spec->name);
      }
    }
    return absl::OkStatus();
  };
  EXPECT_THAT(RunRanks(4, run), IsOk());

  std::vector<std::string> names;
  for (const CollectiveCall& call : calls[0]) names.push_back(call.name);
  // From the last parameter: w1 and router are the first 200 elements, norm and w0 the rest.
  EXPECT_THAT(names, ElementsAre("language.grad.dense0.bucket0", "language.grad.dense0.bucket1",
                                 "language.grad.expert1.bucket0", "language.grad.partial0"));
  EXPECT_EQ(calls[0], calls[2]);
}

TEST(GradientSyncTest, GroupsOfOneRankMakeNoCall) {
  MemoryLedger memory;
  StreamWithWorkspace stream;
  const auto store = MakeStore(memory);
  GradientSync sync("language", *store, {});
  stream->ledger().RecordCollectives(true);
  ASSERT_THAT(sync.Run(*stream), IsOk());
  EXPECT_TRUE(stream->ledger().collectives().empty());
}

}  // namespace
}  // namespace hetero
