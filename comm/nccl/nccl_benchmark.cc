// How fast are sums and messages between GPUs, and what does a call cost the host? Arguments:
// ranks, bytes of the tensor. Rates are bytes a rank must at least send: 2 (n - 1) / n of the
// tensor in an all-reduce, the tensor in an exchange with the next rank. `host_us`: the host's time
// for a call.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

constexpr int kWarmUp = 10;
constexpr int kCalls = 100;

struct Rank {
  Communicator& communicator;
  TensorView out, in;
  Stream& stream;
};

// Times kCalls of `call` on the first rank's stream.
void Run(benchmark::State& state, double sent_bytes,
         const std::function<absl::Status(Rank&)>& call) {
  const int64_t num_ranks = state.range(0);
  const int64_t count = state.range(1) / 4;
  RunRanksOptions options = {.timeout = absl::Seconds(30), .backend = RankBackend::kNccl};
  Group members;
  for (int64_t i = 0; i < num_ranks; ++i) {
    options.devices.push_back({DeviceKind::kCuda, static_cast<int>(i)});
    members.emplace_back(i);
  }
  absl::Duration host;
  while (state.KeepRunningBatch(kCalls)) {
    absl::Duration elapsed;
    const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
      const Device device = options.devices[static_cast<size_t>(rank.value())];
      MemoryLedger memory;
      Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
      HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream,
                              Stream::Create(device, no_workspace));
      HETERO_ASSIGN_OR_RETURN(const Buffer buffer,
                              Buffer::Allocate(device, MemoryLabel::kData, 2 * count * 4, memory));
      HETERO_ASSIGN_OR_RETURN(Event start, Event::CreateTimed(device));
      HETERO_ASSIGN_OR_RETURN(Event end, Event::CreateTimed(device));
      return AbortOnFailure(rank, factory, [&]() -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(const auto communicator, factory.Create({"gradient", members}));
        const TensorView both = buffer.View(DType::kF32, {2, count});
        Rank self = {*communicator, both.At(0), both.At(1), *stream};
        for (int i = 0; i < kWarmUp; ++i) HETERO_RETURN_IF_ERROR(call(self));
        HETERO_RETURN_IF_ERROR(stream->Synchronize());
        const absl::Time host_start = absl::Now();
        HETERO_RETURN_IF_ERROR(start.Record(*stream));
        for (int i = 0; i < kCalls; ++i) HETERO_RETURN_IF_ERROR(call(self));
        HETERO_RETURN_IF_ERROR(end.Record(*stream));
        const absl::Duration host_time = absl::Now() - host_start;
        HETERO_RETURN_IF_ERROR(stream->Synchronize());
        if (rank != GlobalRank(0)) return absl::OkStatus();
        host += host_time;
        HETERO_ASSIGN_OR_RETURN(elapsed, Event::TimeBetween(start, end));
        return absl::OkStatus();
      });
    };
    CHECK_OK(RunRanks(num_ranks, run, options));
    state.SetIterationTime(absl::ToDoubleSeconds(elapsed));
  }
  const auto calls = static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<int64_t>(calls * sent_bytes));
  state.counters["host_us"] = absl::ToDoubleMicroseconds(host) / calls;
}

void Arguments(benchmark::internal::Benchmark* benchmark) {
  for (const int64_t bytes : {int64_t{4} << 10, int64_t{1} << 20, int64_t{256} << 20}) {
    benchmark->Args({2, bytes});
  }
  benchmark->UseManualTime();
}

void BM_NcclAllReduce(benchmark::State& state) {
  const auto n = static_cast<double>(state.range(0));
  Run(state, 2 * (n - 1) / n * static_cast<double>(state.range(1)), [](Rank& self) {
    return self.communicator.AllReduce(self.out, self.out, ReduceOp::kSum, self.stream, "sum");
  });
}
BENCHMARK(BM_NcclAllReduce)->Apply(Arguments);

void BM_NcclExchange(benchmark::State& state) {
  Run(state, static_cast<double>(state.range(1)), [](Rank& self) -> absl::Status {
    const int64_t n = self.communicator.size();
    const int64_t me = self.communicator.rank().value();
    const SendRequest send = {GroupRank((me + 1) % n), self.out};
    const ReceiveRequest receive = {GroupRank((me + n - 1) % n), self.in};
    HETERO_ASSIGN_OR_RETURN(const auto rows, self.communicator.Exchange({&send, 1}, {&receive, 1},
                                                                        self.stream, "rows"));
    return rows->Wait();
  });
}
BENCHMARK(BM_NcclExchange)->Apply(Arguments);

}  // namespace
}  // namespace hetero
