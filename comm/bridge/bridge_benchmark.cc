// How fast do rows cross between module grids, over shared memory and over the connections of
// processes? Arguments: source lanes, destination lanes, tensor-parallel ranks of a destination
// lane. Bytes are those of one microbatch's rows of all lanes, forward.

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/comm/bridge/bridge.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/comm/testing/process_ranks.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/plan_lanes.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/grid/row_plan.h"

namespace hetero {
namespace {

constexpr int64_t kRepeats = 50;
constexpr int64_t kWidth = 512;
constexpr int64_t kRows = 2048;  // of the whole microbatch: 4 MiB
constexpr int64_t kSamples = 16;

using RankFunction = absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)>;
using Backend = absl::Status (*)(int64_t num_ranks, RankFunction function);

absl::Status Threads(int64_t num_ranks, RankFunction function) {
  return RunRanks(num_ranks, function);
}

absl::Status Processes(int64_t num_ranks, RankFunction function) {
  absl::Status first;
  for (const absl::Status& status : RunProcessRanks(num_ranks, function)) first.Update(status);
  return first;
}

template <typename MakePlan>
void Run(benchmark::State& state, Backend backend, MakePlan make_plan) {
  const int64_t sources = state.range(0);
  const int64_t lanes = state.range(1);
  const int64_t tp = state.range(2);
  const Grid source = Grid::Make({.name = "vision", .num_ranks = sources}).value();
  const Grid destination =
      Grid::Make({.name = "language", .num_ranks = lanes * tp, .tp = tp, .rank_offset = sources})
          .value();
  const RowPlan plan = make_plan(LastStage(source), FirstStage(destination)).value();
  absl::Duration total;
  while (state.KeepRunningBatch(kRepeats)) {
    absl::Duration elapsed;
    CHECK_OK(backend(
        sources + lanes * tp, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
          MemoryLedger memory;
          Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
          Stream stream(Device{}, workspace);
          HETERO_ASSIGN_OR_RETURN(auto bridge, Bridge::Create({.width = kWidth,
                                                               .num_forward_slots = 2,
                                                               .num_backward_slots = 2,
                                                               .max_forward_rows = kRows,
                                                               .max_backward_rows = kRows},
                                                              source, destination, plan, rank,
                                                              factory, Device{}, memory));
          std::vector<float> rows(static_cast<size_t>(SourceRows(plan, rank) * kWidth), 1.0f);
          const TensorView view(std::span<float>(rows), {SourceRows(plan, rank), kWidth});
          const absl::Time start = absl::Now();
          for (int64_t i = 0; i < kRepeats; ++i) {
            if (bridge->forward().is_source()) {
              HETERO_ASSIGN_OR_RETURN(auto sent, bridge->forward().Send(view, plan, i, stream));
              HETERO_RETURN_IF_ERROR(sent->Wait());
            } else {
              HETERO_ASSIGN_OR_RETURN(auto receive, bridge->forward().PostReceive(plan, i, stream));
              HETERO_RETURN_IF_ERROR(receive->Wait(stream).status());
            }
          }
          if (rank == GlobalRank(sources)) elapsed = absl::Now() - start;
          return absl::OkStatus();
        }));
    state.SetIterationTime(absl::ToDoubleSeconds(elapsed));
  }
  state.SetBytesProcessed(state.iterations() * kRows * kWidth * 4);
}

void Arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->Args({1, 1, 1})->Args({1, 2, 1})->Args({2, 1, 1})->Args({1, 1, 2})->UseManualTime();
}

void BM_BridgeLeaderFunnel(benchmark::State& state, Backend backend) {
  Run(state, backend, [](LaneSide source, LaneSide destination) {
    const std::vector<int64_t> counts(kSamples, kRows / kSamples);
    return PlanLeaderFunnel(source, destination, counts);
  });
}
BENCHMARK_CAPTURE(BM_BridgeLeaderFunnel, threads, Threads)->Apply(Arguments);
BENCHMARK_CAPTURE(BM_BridgeLeaderFunnel, processes, Processes)->Apply(Arguments);

// Every token has a row: the destination's ranks get equal shares.
void BM_BridgeOwners(benchmark::State& state, Backend backend) {
  Run(state, backend, [](LaneSide source, LaneSide destination) {
    const IndexRange all = {0, kRows / kSamples};
    const std::vector<SampleRows> samples(kSamples, {all.count, all.count, std::span(&all, 1)});
    return PlanOwners(source, destination, samples);
  });
}
BENCHMARK_CAPTURE(BM_BridgeOwners, threads, Threads)->Apply(Arguments);
BENCHMARK_CAPTURE(BM_BridgeOwners, processes, Processes)->Apply(Arguments);

}  // namespace
}  // namespace hetero
