#include "hetero/tensor/ops/ceiling.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

// Calls per second of `function`, the best of several bursts of about 5 ms.
template <typename Function>
double BestRate(Function&& function) {
  double best = 0;
  int64_t calls = 1;
  for (int burst = 0; burst < 15;) {
    const absl::Duration start = ThreadTime();
    for (int64_t i = 0; i < calls; ++i) function();
    const double seconds = absl::ToDoubleSeconds(ThreadTime() - start);
    if (seconds < 0.005) {
      calls *= 2;
      continue;
    }
    best = std::max(best, static_cast<double>(calls) / seconds);
    ++burst;
  }
  return best;
}

}  // namespace

double MeasuredCopyBytesPerSecond(int64_t working_set_bytes) {
  const int64_t half = std::max<int64_t>(working_set_bytes / 2, 64);
  std::vector<char> source(half, 1);
  std::vector<char> destination(half, 2);
  return 2.0 * static_cast<double>(half) * BestRate([&] {
           std::memcpy(destination.data(), source.data(), half);
           benchmark::DoNotOptimize(destination.data());
           benchmark::ClobberMemory();
         });
}

double MeasuredGemmFlopsPerSecond() {
  constexpr int64_t kSide = 512;
  static const double flops_per_second = [] {
    std::vector<float> a(kSide * kSide, 1.0f);
    std::vector<float> b(kSide * kSide, 0.5f);
    std::vector<float> c(kSide * kSide);
    return 2.0 * kSide * kSide * kSide * BestRate([&] {
             CHECK_OK(cpu::Gemm<float>(false, false, kSide, kSide, kSide, 1.0f, a.data(), kSide,
                                       b.data(), kSide, 0.0f, c.data(), kSide));
             benchmark::ClobberMemory();
           });
  }();
  return flops_per_second;
}

void ReportBytes(benchmark::State& state, double bytes) {
  const double ceiling = MeasuredCopyBytesPerSecond(static_cast<int64_t>(bytes));
  state.counters["B/s"] = benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["ceiling"] =
      benchmark::Counter(bytes / ceiling, benchmark::Counter::kIsIterationInvariantRate);
}

void ReportFlops(benchmark::State& state, double flops) {
  const double ceiling = MeasuredGemmFlopsPerSecond();
  state.counters["FLOP/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["ceiling"] =
      benchmark::Counter(flops / ceiling, benchmark::Counter::kIsIterationInvariantRate);
}

void ReportOperations(benchmark::State& state, const CallLedger& ledger) {
  const double iterations = static_cast<double>(state.iterations());
  ReportFlops(state, ledger.total_flops() / iterations);
  for (const auto& [name, totals] : ledger.operations()) {
    state.counters[absl::StrCat(name, " us")] =
        absl::ToDoubleMicroseconds(totals.time) / iterations;
  }
}

}  // namespace hetero
