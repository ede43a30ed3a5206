// The laws of collectives.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/comm/cuda_testing.h"
#include "hetero/comm/cuda_testing_turns.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/ops/cuda_testing.h"

namespace hetero {
namespace {

using internal::Expect;
using internal::kTurns;
using internal::Turn;
using internal::Values;
using internal::World;

std::vector<double> Reduced(DType dtype, ReduceOp op, int64_t num_ranks, int64_t turn,
                            int64_t count) {
  std::vector<double> result = Values(dtype, 0, turn, count);
  for (int64_t rank = 1; rank < num_ranks; ++rank) {
    const std::vector<double> next = Values(dtype, rank, turn, count);
    for (size_t i = 0; i < result.size(); ++i) {
      const double sum = result[i] + next[i];
      result[i] = op == ReduceOp::kMax                            ? std::max(result[i], next[i])
                  : op == ReduceOp::kMin                          ? std::min(result[i], next[i])
                  : dtype == DType::kF32 || dtype == DType::kBF16 ? static_cast<float>(sum)
                                                                  : sum;
    }
  }
  if (dtype == DType::kBF16) {
    for (double& value : result) value = static_cast<float>(BFloat16(static_cast<float>(value)));
  }
  return result;
}

}  // namespace

absl::Status AllReduceEqualsTheHost(const RunRanksOptions& options, DType dtype, ReduceOp op,
                                    int64_t count) {
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    Stream& stream = self.stream();
    HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(options)}));
    std::deque<Turn> turns;
    std::deque<DeviceTensor> outputs;
    for (int64_t t = 0; t < kTurns; ++t) {
      turns.emplace_back(dtype, count, Values(dtype, self.rank().value(), t, count), stream);
      outputs.emplace_back(dtype, std::initializer_list<int64_t>{count}, stream);
    }
    for (int64_t t = 0; t < kTurns; ++t) {
      const bool in_place = t % 2 == 1;
      Turn& turn = turns[static_cast<size_t>(t)];
      const TensorView output =
          in_place ? turn.work.view() : outputs[static_cast<size_t>(t)].view();
      HETERO_RETURN_IF_ERROR(self.Lag(t, num_ranks));
      HETERO_RETURN_IF_ERROR(turn.Write(stream));
      HETERO_RETURN_IF_ERROR(
          comm->AllReduce(turn.work.view(), output, op, stream, absl::StrCat("sum", t)));
      if (!in_place) {
        HETERO_RETURN_IF_ERROR(turn.Spoil(stream));
      }
    }
    for (int64_t t = 0; t < kTurns; ++t) {
      const DeviceTensor& output =
          t % 2 == 1 ? turns[static_cast<size_t>(t)].work : outputs[static_cast<size_t>(t)];
      HETERO_RETURN_IF_ERROR(
          Expect(output.Values(), Reduced(dtype, op, num_ranks, t, count), "all_reduce", t));
    }
    return comm->HealthCheck();
  });
}

absl::Status ReduceScatterThenAllGatherIsAllReduce(const RunRanksOptions& options, int64_t count) {
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  const int64_t total = num_ranks * count;
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    Stream& stream = self.stream();
    HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"gradient", World(options)}));
    std::deque<Turn> turns;
    for (int64_t t = 0; t < kTurns; ++t) {
      turns.emplace_back(DType::kF32, total, Values(DType::kF32, self.rank().value(), t, total),
                         stream);
    }
    for (int64_t t = 0; t < kTurns; ++t) {
      Turn& turn = turns[static_cast<size_t>(t)];
      const TensorView own = turn.work.view().Rows(self.rank().value() * count, count);
      HETERO_RETURN_IF_ERROR(self.Lag(t, num_ranks));
      HETERO_RETURN_IF_ERROR(turn.Write(stream));
      HETERO_RETURN_IF_ERROR(comm->ReduceScatter(turn.work.view(), own, stream, "scatter"));
      HETERO_RETURN_IF_ERROR(self.Lag(t + 1, num_ranks));
      HETERO_RETURN_IF_ERROR(comm->AllGather(own, turn.work.view(), stream, "gather"));
    }
    for (int64_t t = 0; t < kTurns; ++t) {
      HETERO_RETURN_IF_ERROR(Expect(turns[static_cast<size_t>(t)].work.Values(),
                                    Reduced(DType::kF32, ReduceOp::kSum, num_ranks, t, total),
                                    "gathered", t));
    }
    return comm->HealthCheck();
  });
}

absl::Status AllToAllThereAndBackIsIdentity(const RunRanksOptions& options, int64_t scale) {
  constexpr int64_t kColumns = 3;
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  const auto rows = [&](int64_t s, int64_t d) { return (s + 2 * d) % 3 * scale; };
  const auto tag = [](int64_t s, int64_t d, int64_t i) {
    return static_cast<double>((s * 10 + d) * 100000 + i);
  };
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    Stream& stream = self.stream();
    const int64_t me = self.rank().value();
    HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"expert", World(options)}));
    std::vector<int64_t> send, receive;
    std::vector<double> there, arrived;
    for (int64_t peer = 0; peer < num_ranks; ++peer) {
      send.push_back(rows(me, peer));
      receive.push_back(rows(peer, me));
      for (int64_t i = 0; i < send.back() * kColumns; ++i) there.push_back(tag(me, peer, i));
      for (int64_t i = 0; i < receive.back() * kColumns; ++i) arrived.push_back(tag(peer, me, i));
    }
    const auto sent = static_cast<int64_t>(there.size());
    const auto received = static_cast<int64_t>(arrived.size());
    Turn turn(DType::kI64, sent, there, stream);
    const DeviceTensor output(DType::kI64, {received}, stream);
    const DeviceTensor back(DType::kI64, {sent}, stream);
    const auto as_rows = [&](const DeviceTensor& tensor) {
      return tensor.view().Reshape({tensor.view().num_elements() / kColumns, kColumns});
    };
    for (int64_t t = 0; t < kTurns; ++t) {
      HETERO_RETURN_IF_ERROR(self.Lag(t, num_ranks));
      HETERO_RETURN_IF_ERROR(turn.Write(stream));
      HETERO_RETURN_IF_ERROR(
          comm->AllToAllV(as_rows(turn.work), send, as_rows(output), receive, stream, "there"));
      HETERO_RETURN_IF_ERROR(turn.Spoil(stream));
      HETERO_RETURN_IF_ERROR(
          comm->AllToAllV(as_rows(output), receive, as_rows(back), send, stream, "back"));
    }
    HETERO_RETURN_IF_ERROR(Expect(output.Values(), arrived, "there", kTurns));
    HETERO_RETURN_IF_ERROR(Expect(back.Values(), there, "back", kTurns));
    return comm->HealthCheck();
  });
}

absl::Status BroadcastGivesTheRootsValues(const RunRanksOptions& options, int64_t count) {
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    Stream& stream = self.stream();
    HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(options)}));
    Turn turn(DType::kF32, count, Values(DType::kF32, self.rank().value(), 0, count), stream);
    std::deque<DeviceTensor> kept;
    for (int64_t t = 0; t < kTurns; ++t) {
      kept.emplace_back(DType::kF32, std::initializer_list<int64_t>{count}, stream);
    }
    for (int64_t t = 0; t < kTurns; ++t) {
      HETERO_RETURN_IF_ERROR(self.Lag(t, num_ranks));
      HETERO_RETURN_IF_ERROR(turn.Write(stream));
      HETERO_RETURN_IF_ERROR(
          comm->Broadcast(turn.work.view(), GroupRank(t % num_ranks), stream, "weights"));
      HETERO_RETURN_IF_ERROR(
          CopyToDevice(turn.work.view(), kept[static_cast<size_t>(t)].view(), stream));
      HETERO_RETURN_IF_ERROR(turn.Spoil(stream));
    }
    for (int64_t t = 0; t < kTurns; ++t) {
      HETERO_RETURN_IF_ERROR(Expect(kept[static_cast<size_t>(t)].Values(),
                                    Values(DType::kF32, t % num_ranks, 0, count), "broadcast", t));
    }
    return comm->HealthCheck();
  });
}

absl::Status HostTensorsTakeTurns(const RunRanksOptions& options) {
  const auto num_ranks = static_cast<int64_t>(options.devices.size());
  return RunGpuRanks(options, [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"control", World(options)}));
    Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
    Stream host_stream(Device{}, no_workspace);
    Turn turn(DType::kF32, 7, std::vector<double>(7, 1.0), self.stream());
    HETERO_RETURN_IF_ERROR(turn.Write(self.stream()));
    double expected = 1;
    for (int64_t t = 0; t < kTurns; ++t) {
      const TensorView view = turn.work.view();
      HETERO_RETURN_IF_ERROR(
          comm->AllReduce(view, view, ReduceOp::kSum, self.stream(), "on the gpu"));
      expected *= static_cast<double>(num_ranks);
      std::vector<int64_t> value = {t + self.rank().value()};
      const TensorView host(std::span<int64_t>(value), {1});
      HETERO_RETURN_IF_ERROR(comm->AllReduce(host, host, ReduceOp::kMax, host_stream, "control"));
      if (value[0] != t + num_ranks - 1) return absl::InternalError("control");
    }
    HETERO_RETURN_IF_ERROR(
        Expect(turn.work.Values(), std::vector<double>(7, expected), "on the gpu", kTurns));
    return comm->HealthCheck();
  });
}

}  // namespace hetero
