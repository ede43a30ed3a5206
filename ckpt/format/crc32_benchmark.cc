// Checksums of what a checkpoint stores, against the speed of memory.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "benchmark/benchmark.h"
#include "hetero/ckpt/format/crc32.h"

namespace hetero {
namespace {

void BM_Crc32(benchmark::State& state) {
  const std::vector<std::byte> bytes(state.range(0), std::byte{0x5a});
  uint32_t sum = 0;
  for (auto _ : state) benchmark::DoNotOptimize(sum = Crc32(bytes, sum));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Crc32)->Name("BM_Crc32/bytes")->Arg(4 << 10)->Arg(4 << 20)->Arg(256 << 20);

void BM_CopyOfTheSame(benchmark::State& state) {
  const std::vector<std::byte> bytes(state.range(0), std::byte{0x5a});
  std::vector<std::byte> copy(bytes.size());
  for (auto _ : state) {
    std::memcpy(copy.data(), bytes.data(), bytes.size());
    benchmark::DoNotOptimize(copy.data());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_CopyOfTheSame)->Name("BM_CopyOfTheSame/bytes")->Arg(4 << 20)->Arg(256 << 20);

void BM_Crc32Combine(benchmark::State& state) {
  uint32_t sum = 1;
  for (auto _ : state) benchmark::DoNotOptimize(sum = Crc32Combine(sum, 2, state.range(0)));
}
BENCHMARK(BM_Crc32Combine)->Name("BM_Crc32Combine/bytes")->Arg(4 << 20);

}  // namespace
}  // namespace hetero
