#include "hetero/comm/testing/backend_benchmarks.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "hetero/base/status.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

constexpr int64_t kRepeats = 200;

double CopyBytesPerSecond() {
  static const double rate = [] {
    std::vector<char> from(64 << 20, 1), to(64 << 20);
    double best = 0;
    for (int i = 0; i < 5; ++i) {
      const absl::Time start = absl::Now();
      std::memcpy(to.data(), from.data(), to.size());
      benchmark::DoNotOptimize(to.data());
      const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
      best = std::max(best, static_cast<double>(to.size()) / seconds);
    }
    return best;
  }();
  return rate;
}

using Body = absl::Status (*)(Communicator& comm, TensorView x, TensorView y, Stream& stream);

void Run(benchmark::State& state, BenchmarkedRun run, Body body) {
  const int64_t num_ranks = state.range(0);
  const int64_t count = state.range(1) * 1024 / 4;
  absl::Duration total;
  while (state.KeepRunningBatch(kRepeats)) {
    absl::Duration elapsed;
    CHECK_OK(run(num_ranks, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
      CommunicatorKey key = {"model", {}};
      for (int64_t i = 0; i < num_ranks; ++i) key.members.emplace_back(i);
      HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create(key));
      Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
      Stream stream(Device{}, workspace);
      std::vector<float> values(static_cast<size_t>(count), 1.0f), other(values.size());
      const TensorView x(std::span<float>(values), {count});
      const TensorView y(std::span<float>(other), {count});
      HETERO_RETURN_IF_ERROR(body(*comm, x, y, stream));
      const absl::Time start = absl::Now();
      for (int64_t i = 0; i < kRepeats; ++i) HETERO_RETURN_IF_ERROR(body(*comm, x, y, stream));
      if (rank == GlobalRank(0)) elapsed = absl::Now() - start;
      return absl::OkStatus();
    }));
    state.SetIterationTime(absl::ToDoubleSeconds(elapsed));
    total += elapsed;
  }
  const double bytes = static_cast<double>(state.iterations() * count * 4);
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  state.counters["copy"] = bytes / absl::ToDoubleSeconds(total) / CopyBytesPerSecond();
}

absl::Status AllReduce(Communicator& comm, TensorView x, TensorView, Stream& stream) {
  return comm.AllReduce(x, x, ReduceOp::kMax, stream, "x");
}

absl::Status Broadcast(Communicator& comm, TensorView x, TensorView, Stream& stream) {
  return comm.Broadcast(x, GroupRank(0), stream, "x");
}

// Every rank sends the tensor to its neighbour and receives as much, as over a bridge.
absl::Status ExchangeRing(Communicator& comm, TensorView x, TensorView y, Stream& stream) {
  const int64_t size = comm.size();
  const SendRequest send = {GroupRank((comm.rank().value() + 1) % size), x};
  const ReceiveRequest receive = {GroupRank((comm.rank().value() + size - 1) % size), y};
  HETERO_ASSIGN_OR_RETURN(auto handle, comm.Exchange({&send, 1}, {&receive, 1}, stream, "x"));
  return handle->Wait();
}

}  // namespace

int RegisterBackendBenchmarks(BenchmarkedRun run) {
  struct Case {
    const char* name;
    Body body;
    std::vector<int64_t> kibibytes;
  };
  // Of nothing, a collective is a meeting; a message is not sent.
  const std::vector<Case> cases = {{"BM_AllReduce", AllReduce, {0, 1, 192, 4096}},
                                   {"BM_Broadcast", Broadcast, {0, 1, 192, 4096}},
                                   {"BM_ExchangeRing", ExchangeRing, {1, 192, 4096}}};
  for (const Case& one : cases) {
    benchmark::RegisterBenchmark(
        one.name, [run, body = one.body](benchmark::State& state) { Run(state, run, body); })
        ->ArgsProduct({{2, 4}, one.kibibytes})
        ->UseManualTime()
        ->MinTime(0.1);
  }
  return 0;
}

}  // namespace hetero
