// Checksums of what a checkpoint stores, against the speed of memory, and what opening one costs.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"

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

// 100 chunks a tensor, as of a save of 100 ranks.
std::string TextOfChunks(int64_t count) {
  constexpr int64_t kRanks = 100;
  constexpr int64_t kRows = 64;
  constexpr int64_t kColumns = 1024;
  constexpr int64_t kChunkBytes = kRows * kColumns * 4;
  Manifest manifest;
  for (int64_t rank = 0; rank < kRanks; ++rank) {
    manifest.files.push_back({absl::StrCat("__", rank, "_0.distcp"), int64_t{1} << 50, 0});
  }
  for (int64_t i = 0; i < count / kRanks; ++i) {
    ManifestTensor& tensor = manifest.tensors[absl::StrCat(
        "mimo.language.optimizer.state.exp_avg.language_model.decoder.layers.", i, ".weight")];
    tensor.shape = {kRanks * kRows, kColumns};
    for (int64_t rank = 0; rank < kRanks; ++rank) {
      tensor.chunks.push_back({.file = static_cast<int>(rank),
                               .offset = i * kChunkBytes,
                               .bytes = kChunkBytes,
                               .crc32 = 0x89abcdef,
                               .box = {{rank * kRows, 0}, {kRows, kColumns}}});
    }
  }
  return ManifestText(manifest);
}

void BM_ParseManifest(benchmark::State& state) {
  const std::string text = TextOfChunks(state.range(0));
  for (auto _ : state) {
    const absl::StatusOr<Manifest> manifest = ParseManifest(text);
    CHECK_OK(manifest.status());
    benchmark::DoNotOptimize(manifest->tensors.size());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * std::ssize(text));
}
BENCHMARK(BM_ParseManifest)
    ->Name("BM_ParseManifest/chunks")
    ->Unit(benchmark::kMillisecond)
    ->Arg(10'000)
    ->Arg(1'000'000);

}  // namespace
}  // namespace hetero
