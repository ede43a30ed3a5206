// The laws of exchanges, and of bridges, which are made of them.

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/comm/bridge/bridge.h"
#include "hetero/comm/cuda_testing.h"
#include "hetero/comm/cuda_testing_turns.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/plan_lanes.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/grid/row_plan.h"
#include "hetero/grid/token_shard.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/ops/cuda_testing.h"

namespace hetero {
namespace {

using internal::Expect;
using internal::kTurns;
using internal::Turn;
using internal::Values;
using internal::World;

// Samples of which every token has a row.
std::vector<IndexRange> EveryToken(std::span<const int64_t> counts) {
  std::vector<IndexRange> runs;
  for (const int64_t count : counts) runs.push_back({0, count});
  return runs;
}

// `runs`, one a sample, outlive the result.
std::vector<SampleRows> SampleRowsOf(std::span<const IndexRange> runs) {
  std::vector<SampleRows> samples;
  for (const IndexRange& run : runs) {
    samples.push_back({run.count, run.count, std::span(&run, run.count > 0 ? 1 : 0)});
  }
  return samples;
}

// Of the rows of the one source rank those that `rank` gets: its tokens are consecutive.
IndexRange ReceivedRange(const RowPlan& plan, GlobalRank rank) {
  const std::vector<RowTransfer> received = ReceivesOf(plan, rank);
  return {received.empty() ? 0 : received.front().source_row, DestinationRows(plan, rank)};
}

}  // namespace

absl::Status CrossedExchangesMatchInPostingOrder(const RunRanksOptions& options, int64_t count) {
  constexpr int64_t kInFlight = 3;
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    Stream& stream = self.stream();
    const int64_t me = self.rank().value();
    HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"bridge", World(options)}));
    // Values(.., s * 10 + d, k) go from s to d in exchange k of a turn; k = 1 is empty.
    const auto size = [&](int64_t k) { return k == 1 ? 0 : count + k; };
    std::deque<Turn> sent;
    std::deque<DeviceTensor> received, kept;
    for (int64_t k = 0; k < kInFlight; ++k) {
      for (int64_t peer = 0; peer < num_ranks; ++peer) {
        sent.emplace_back(DType::kF32, size(k), Values(DType::kF32, me * 10 + peer, k, size(k)),
                          stream);
        received.emplace_back(DType::kF32, std::initializer_list<int64_t>{size(k)}, stream);
        kept.emplace_back(DType::kF32, std::initializer_list<int64_t>{size(k)}, stream);
      }
    }
    const auto at = [&](int64_t k, int64_t peer) {
      return static_cast<size_t>(k * num_ranks + peer);
    };
    for (int64_t t = 0; t < kTurns; ++t) {
      std::vector<std::unique_ptr<TransferHandle>> handles;
      for (int64_t k = 0; k < kInFlight; ++k) {
        std::vector<SendRequest> sends;
        std::vector<ReceiveRequest> receives;
        HETERO_RETURN_IF_ERROR(self.Lag(t + k, num_ranks));
        for (int64_t peer = 0; peer < num_ranks; ++peer) {
          Turn& turn = sent[at(k, peer)];
          HETERO_RETURN_IF_ERROR(turn.Write(stream));
          sends.push_back({GroupRank(peer), turn.work.view()});
          receives.push_back({GroupRank(peer), received[at(k, peer)].view()});
        }
        HETERO_ASSIGN_OR_RETURN(handles.emplace_back(),
                                comm->Exchange(sends, receives, stream, "rows"));
      }
      for (int64_t k = kInFlight - 1; k >= 0; --k) {
        HETERO_RETURN_IF_ERROR(handles[static_cast<size_t>(k)]->Wait());
        for (int64_t peer = 0; peer < num_ranks; ++peer) {
          const DeviceTensor& message = received[at(k, peer)];
          HETERO_RETURN_IF_ERROR(CopyToDevice(message.view(), kept[at(k, peer)].view(), stream));
          HETERO_RETURN_IF_ERROR(
              CopyToDevice(sent[at(k, peer)].poison.view(), message.view(), stream));
          HETERO_RETURN_IF_ERROR(sent[at(k, peer)].Spoil(stream));
        }
      }
      if (t % 2 == 1) continue;
      for (int64_t k = 0; k < kInFlight; ++k) {
        for (int64_t peer = 0; peer < num_ranks; ++peer) {
          HETERO_RETURN_IF_ERROR(Expect(kept[at(k, peer)].Values(),
                                        Values(DType::kF32, peer * 10 + me, k, size(k)), "exchange",
                                        t));
        }
      }
    }
    return comm->HealthCheck();
  });
}

absl::Status BridgeCarriesRowsBothWays(const RunRanksOptions& options) {
  constexpr int64_t kWidth = 5, kMicrobatches = 4, kSlots = 2, kMaxRows = 64;
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  const int64_t tp = num_ranks - 1;
  const Grid source = Grid::Make({.name = "vision", .num_ranks = 1}).value();
  const Grid destination =
      Grid::Make({.name = "language", .num_ranks = tp, .tp = tp, .rank_offset = 1}).value();
  const auto plan_of = [&](int64_t microbatch, bool owners) {
    const std::vector<int64_t> counts = {30 + microbatch, 0, 26};
    return (owners ? PlanOwners(LastStage(source), FirstStage(destination),
                                SampleRowsOf(EveryToken(counts)))
                   : PlanLeaderFunnel(LastStage(source), FirstStage(destination), counts))
        .value();
  };
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    Stream& stream = self.stream();
    for (const bool owners : {true, false}) {
      MemoryLedger memory;
      HETERO_ASSIGN_OR_RETURN(
          auto bridge, Bridge::Create({.edge = owners ? 0 : 1,
                                       .width = kWidth,
                                       .num_forward_slots = kSlots,
                                       .num_backward_slots = kSlots,
                                       .max_forward_rows = kMaxRows,
                                       .max_backward_rows = kMaxRows},
                                      source, destination, plan_of(0, owners), self.rank(), factory,
                                      stream.device(), memory));
      const bool sends = bridge->forward().is_source();
      BridgeChannel& out = sends ? bridge->forward() : bridge->backward();
      BridgeChannel& in = sends ? bridge->backward() : bridge->forward();
      std::deque<Turn> turns;
      std::deque<DeviceTensor> kept;
      std::vector<RowPlan> out_plans, in_plans;
      // Forward rows are Values(.., 7, i), their gradients Values(.., 8, i), of which a rank has
      // those of its own rows.
      std::vector<IndexRange> held;
      const auto values = [&](int64_t seed, int64_t i) {
        const std::vector<double> all = Values(DType::kF32, seed, i, (56 + i) * kWidth);
        const IndexRange& own = held[static_cast<size_t>(i)];
        return std::vector<double>(all.begin() + own.first * kWidth,
                                   all.begin() + own.end() * kWidth);
      };
      const auto rows_of = [&](int64_t i) { return held[static_cast<size_t>(i)].count; };
      for (int64_t i = 0; i < kMicrobatches; ++i) {
        const RowPlan plan = plan_of(i, owners);
        held.push_back(sends || !owners ? IndexRange{0, 56 + i} : ReceivedRange(plan, self.rank()));
        const int64_t count = rows_of(i) * kWidth;
        turns.emplace_back(DType::kF32, count, values(sends ? 7 : 8, i), stream);
        kept.emplace_back(DType::kF32, std::initializer_list<int64_t>{count}, stream);
        out_plans.push_back(sends ? plan : Inverse(plan));
        in_plans.push_back(sends ? Inverse(plan) : plan);
      }
      std::deque<std::unique_ptr<BridgeReceive>> receives;
      std::vector<std::unique_ptr<TransferHandle>> sent;
      const auto post = [&](int64_t i) -> absl::Status {
        if (i >= kMicrobatches) return absl::OkStatus();
        HETERO_ASSIGN_OR_RETURN(receives.emplace_back(),
                                in.PostReceive(in_plans[static_cast<size_t>(i)], i, stream));
        return absl::OkStatus();
      };
      const auto send = [&](int64_t i) -> absl::Status {
        Turn& turn = turns[static_cast<size_t>(i)];
        HETERO_RETURN_IF_ERROR(self.Lag(i, num_ranks));
        HETERO_RETURN_IF_ERROR(turn.Write(stream));
        HETERO_ASSIGN_OR_RETURN(sent.emplace_back(),
                                out.Send(turn.work.view().Reshape({rows_of(i), kWidth}),
                                         out_plans[static_cast<size_t>(i)], i, stream));
        return absl::OkStatus();
      };
      const auto receive = [&](int64_t i) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(const TensorView rows, receives.front()->Wait(stream));
        receives.pop_front();
        HETERO_RETURN_IF_ERROR(CopyToDevice(rows.Reshape({rows_of(i) * kWidth}),
                                            kept[static_cast<size_t>(i)].view(), stream));
        return post(i + kSlots);
      };
      for (int64_t i = 0; i < kSlots; ++i) HETERO_RETURN_IF_ERROR(post(i));
      for (int64_t i = 0; i < kMicrobatches; ++i) {
        HETERO_RETURN_IF_ERROR(sends ? send(i) : receive(i));
        HETERO_RETURN_IF_ERROR(sends ? receive(i) : send(i));
      }
      for (int64_t i = 0; i < kMicrobatches; ++i) {
        HETERO_RETURN_IF_ERROR(sent[static_cast<size_t>(i)]->Wait());
        HETERO_RETURN_IF_ERROR(turns[static_cast<size_t>(i)].Spoil(stream));
        HETERO_RETURN_IF_ERROR(
            Expect(kept[static_cast<size_t>(i)].Values(), values(sends ? 8 : 7, i), "bridge", i));
      }
    }
    return absl::OkStatus();
  });
}

absl::Status ColocatedBridgeMovesRows(const RunRanksOptions& options) {
  constexpr int64_t kWidth = 5, kMicrobatches = 3, kMaxRows = 64;
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  const Grid source = Grid::Make({.name = "vision", .num_ranks = num_ranks}).value();
  const Grid destination =
      Grid::Make({.name = "language", .num_ranks = num_ranks, .tp = num_ranks}).value();
  // Rank r has 3 + r rows, which all of them take equal shares of.
  std::vector<int64_t> counts;
  int64_t total = 0;
  for (int64_t rank = 0; rank < num_ranks; ++rank) {
    counts.push_back(3 + rank);
    total += counts.back();
  }
  const RowPlan plan =
      PlanOwners(LastStage(source), FirstStage(destination), SampleRowsOf(EveryToken(counts)))
          .value();
  const auto values = [&](int64_t rank, int64_t microbatch) {
    return Values(DType::kF32, rank, microbatch, (3 + rank) * kWidth);
  };
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    Stream& stream = self.stream();
    const int64_t me = self.rank().value();
    const TokenShard shard = {.num_tokens = total, .size = num_ranks, .rank = me};
    MemoryLedger memory;
    HETERO_ASSIGN_OR_RETURN(
        auto bridge,
        Bridge::Create(
            {.width = kWidth, .max_forward_rows = kMaxRows, .max_backward_rows = kMaxRows}, source,
            destination, plan, self.rank(), factory, stream.device(), memory));
    std::deque<Turn> turns;
    std::deque<DeviceTensor> moved, own;
    std::vector<std::vector<double>> expected;
    for (int64_t i = 0; i < kMicrobatches; ++i) {
      std::vector<double> all;
      for (int64_t rank = 0; rank < num_ranks; ++rank) {
        const std::vector<double> rows = values(rank, i);
        all.insert(all.end(), rows.begin(), rows.end());
      }
      const auto first = all.begin() + shard.begin() * kWidth;
      expected.emplace_back(first, first + shard.num_owned() * kWidth);
      turns.emplace_back(DType::kF32, (3 + me) * kWidth, values(me, i), stream);
      moved.emplace_back(DType::kF32, std::initializer_list<int64_t>{shard.num_owned(), kWidth},
                         stream);
      own.emplace_back(DType::kF32, std::initializer_list<int64_t>{3 + me, kWidth}, stream);
    }
    for (int64_t i = 0; i < kMicrobatches; ++i) {
      Turn& turn = turns[static_cast<size_t>(i)];
      const TensorView kept = moved[static_cast<size_t>(i)].view();
      HETERO_RETURN_IF_ERROR(self.Lag(i, num_ranks));
      HETERO_RETURN_IF_ERROR(turn.Write(stream));
      HETERO_ASSIGN_OR_RETURN(auto forward, bridge->forward().PostReceive(plan, i, stream));
      HETERO_ASSIGN_OR_RETURN(
          auto sent,
          bridge->forward().Send(turn.work.view().Reshape({3 + me, kWidth}), plan, i, stream));
      HETERO_RETURN_IF_ERROR(sent->Wait());
      HETERO_RETURN_IF_ERROR(turn.Spoil(stream));
      HETERO_ASSIGN_OR_RETURN(const TensorView rows, forward->Wait(stream));
      HETERO_RETURN_IF_ERROR(CopyToDevice(rows, kept, stream));

      HETERO_ASSIGN_OR_RETURN(auto backward,
                              bridge->backward().PostReceive(Inverse(plan), i, stream));
      HETERO_ASSIGN_OR_RETURN(auto returned,
                              bridge->backward().Send(kept, Inverse(plan), i, stream));
      HETERO_RETURN_IF_ERROR(returned->Wait());
      HETERO_ASSIGN_OR_RETURN(const TensorView gradient, backward->Wait(stream));
      HETERO_RETURN_IF_ERROR(CopyToDevice(gradient, own[static_cast<size_t>(i)].view(), stream));
    }
    for (int64_t i = 0; i < kMicrobatches; ++i) {
      HETERO_RETURN_IF_ERROR(Expect(moved[static_cast<size_t>(i)].Values(),
                                    expected[static_cast<size_t>(i)], "colocated rows", i));
      HETERO_RETURN_IF_ERROR(
          Expect(own[static_cast<size_t>(i)].Values(), values(me, i), "colocated gradient", i));
    }
    return absl::OkStatus();
  });
}

}  // namespace hetero
