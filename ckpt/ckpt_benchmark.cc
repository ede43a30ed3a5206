// What a save and a load take against the disk's own rate, in a new folder of the temporary ones
// (TMPDIR): 1 GiB of state of one rank.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

constexpr int64_t kTensors = 16;
constexpr int64_t kRows = 4096, kColumns = 4096;  // f32: 64 MiB each
constexpr int64_t kBytes = kTensors * kRows * kColumns * 4;
constexpr int64_t kDirectBytes = 4 << 20;  // of a call

class Folder {
 public:
  Folder() {
    std::string path = (std::filesystem::temp_directory_path() / "ckpt_benchmark.XXXXXX").string();
    CHECK(mkdtemp(path.data()) != nullptr) << path;
    path_ = path;
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  // An empty folder in it.
  std::string Fresh() const {
    const std::filesystem::path folder = path_ / "checkpoint";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directory(folder);
    return folder.string();
  }

 private:
  std::filesystem::path path_;
};

struct State {
  std::vector<WholeTensor> tensors;
  CheckpointState state;

  State() {
    for (int64_t i = 0; i < kTensors; ++i) {
      tensors.emplace_back(absl::StrCat("tensor", i), DType::kF32,
                           std::vector<int64_t>{kRows, kColumns});
      state.tensors.push_back(tensors.back().tensor());
      // Not zero: some file systems do not write that.
      for (float& value : state.tensors.back().pieces[0].local.values<float>()) {
        value = static_cast<float>(i + 1);
      }
    }
  }
};

void SetRates(benchmark::State& state) { state.SetBytesProcessed(state.iterations() * kBytes); }

// The disk as the storage writes it: two threads would not make one disk faster.
void BM_DirectWrite(benchmark::State& bench) {
  const Folder folder;
  PosixStorage storage;
  std::vector<std::byte> memory(kDirectBytes + kDirectAlignment, std::byte{1});
  const auto misplaced = reinterpret_cast<uintptr_t>(memory.data()) % kDirectAlignment;
  const std::span<std::byte> block(memory.data() + kDirectAlignment - misplaced, kDirectBytes);
  for (auto _ : bench) {
    const auto file = storage.Create(folder.path() / "direct").value();
    CHECK_OK(file->Allocate(kBytes));
    for (int64_t at = 0; at < kBytes; at += kDirectBytes) CHECK_OK(file->Write(at, block));
    CHECK_OK(file->Sync());
    CHECK_OK(file->Close());
  }
  SetRates(bench);
}

void BM_DirectRead(benchmark::State& bench) {
  const Folder folder;
  PosixStorage storage;
  std::vector<std::byte> memory(kDirectBytes + kDirectAlignment, std::byte{1});
  const auto misplaced = reinterpret_cast<uintptr_t>(memory.data()) % kDirectAlignment;
  const std::span<std::byte> block(memory.data() + kDirectAlignment - misplaced, kDirectBytes);
  const auto written = storage.Create(folder.path() / "direct").value();
  for (int64_t at = 0; at < kBytes; at += kDirectBytes) CHECK_OK(written->Write(at, block));
  CHECK_OK(written->Sync());
  CHECK_OK(written->Close());
  for (auto _ : bench) {
    const auto file = storage.Open(folder.path() / "direct").value();
    for (int64_t at = 0; at < kBytes; at += kDirectBytes) CHECK_OK(file->Read(at, block));
  }
  SetRates(bench);
}

void BM_Save(benchmark::State& bench) {
  const Folder folder;
  PosixStorage storage;
  const State state;
  Exchange exchange;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  Saver saver(storage, exchange);
  int64_t ring_bytes = 0;
  for (auto _ : bench) {
    bench.PauseTiming();
    const std::string directory = folder.Fresh();
    bench.ResumeTiming();
    CHECK_OK(saver.Begin(directory, state.state, {.save_id = "b"}, stream));
    ring_bytes = saver.Finish().value().ring_bytes;
  }
  bench.counters["ring_MiB"] = static_cast<double>(ring_bytes >> 20);
  SetRates(bench);
}

void BM_Load(benchmark::State& bench) {
  const Folder folder;
  PosixStorage storage;
  State state;
  const std::string directory = folder.Fresh();
  CHECK_OK(SaveAlone(storage, directory, state.state));
  for (auto _ : bench) CHECK_OK(LoadAlone(storage, directory, state.state).status());
  SetRates(bench);
}

// How long a step is held up: by the start, and where the update waits for what is not copied yet.
// The argument: milliseconds of forward and backward between the two.
void BM_AsyncStall(benchmark::State& bench) {
  const Folder folder;
  PosixStorage storage;
  const State state;
  Exchange exchange;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  Saver saver(storage, exchange);
  for (auto _ : bench) {
    const std::string directory = folder.Fresh();
    const absl::Time begin = absl::Now();
    CHECK_OK(saver.Begin(directory, state.state, {.save_id = "b"}, stream));
    const absl::Duration started = absl::Now() - begin;
    absl::SleepFor(absl::Milliseconds(bench.range(0)));
    const absl::Time wait = absl::Now();
    saver.AwaitCopied();
    bench.SetIterationTime(absl::ToDoubleSeconds(started + (absl::Now() - wait)));
    CHECK_OK(saver.Finish().status());
  }
}

BENCHMARK(BM_DirectWrite)->Iterations(3)->UseRealTime();
BENCHMARK(BM_Save)->Iterations(3)->UseRealTime();
BENCHMARK(BM_DirectRead)->Iterations(3)->UseRealTime();
BENCHMARK(BM_Load)->Iterations(3)->UseRealTime();
BENCHMARK(BM_AsyncStall)->Arg(0)->Arg(1000)->Arg(3000)->Iterations(3)->UseManualTime();

}  // namespace
}  // namespace hetero
