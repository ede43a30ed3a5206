// What a save and a load take against the disk's own rate, in a new folder of the temporary ones
// (TMPDIR): 1 GiB of state of one rank.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/memory_storage.h"
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

// Memory that goes between it and the disk without a copy.
class DirectBlock {
 public:
  std::span<std::byte> bytes() {
    const auto misplaced = reinterpret_cast<uintptr_t>(memory_.data()) % kDirectAlignment;
    return {memory_.data() + kDirectAlignment - misplaced, kDirectBytes};
  }

 private:
  std::vector<std::byte> memory_ =
      std::vector<std::byte>(kDirectBytes + kDirectAlignment, std::byte{1});
};

// Calls `body` with the path of a file of its own, on each of so many threads.
void OnThreads(int64_t count, const Folder& folder,
               const std::function<void(const std::filesystem::path&)>& body) {
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] { body(folder.path() / absl::StrCat("direct", i)); });
  }
  for (std::thread& thread : threads) thread.join();
}

void WriteDirectly(PosixStorage& storage, const std::filesystem::path& path, int64_t bytes) {
  DirectBlock block;
  const auto file = storage.Create(path).value();
  CHECK_OK(file->Allocate(bytes));
  for (int64_t at = 0; at < bytes; at += kDirectBytes) CHECK_OK(file->Write(at, block.bytes()));
  CHECK_OK(file->Sync());
  CHECK_OK(file->Close());
}

// The disk as the storage writes it. The argument: threads, each with a file, as a save has them.
void BM_DirectWrite(benchmark::State& bench) {
  PosixStorage storage;
  for (auto _ : bench) {
    bench.PauseTiming();
    const Folder folder;  // new files, as a save makes them
    bench.ResumeTiming();
    OnThreads(bench.range(0), folder, [&](const std::filesystem::path& path) {
      WriteDirectly(storage, path, kBytes / bench.range(0));
    });
    bench.PauseTiming();
    std::filesystem::remove_all(folder.path());
    bench.ResumeTiming();
  }
  SetRates(bench);
}

void BM_DirectRead(benchmark::State& bench) {
  const Folder folder;
  PosixStorage storage;
  OnThreads(bench.range(0), folder, [&](const std::filesystem::path& path) {
    WriteDirectly(storage, path, kBytes / bench.range(0));
  });
  for (auto _ : bench) {
    OnThreads(bench.range(0), folder, [&](const std::filesystem::path& path) {
      DirectBlock block;
      const auto file = storage.Open(path).value();
      for (int64_t at = 0; at < file->size(); at += kDirectBytes) {
        CHECK_OK(file->Read(at, block.bytes()));
      }
    });
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
  MemoryLedger memory;
  Saver saver(storage, exchange, memory);
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

// The arguments: reading threads, and whether the files are taken as those of others, without
// checksums.
void BM_Load(benchmark::State& bench) {
  const Folder folder;
  PosixStorage storage;
  State state;
  const std::string directory = folder.Fresh();
  CHECK_OK(SaveAlone(storage, directory, state.state));
  const bool foreign = bench.range(1) != 0;
  if (foreign) CHECK_OK(storage.Remove(std::filesystem::path(directory) / kManifestName));
  const LoadOptions options{.foreign = foreign, .num_readers = static_cast<int>(bench.range(0))};
  for (auto _ : bench) CHECK_OK(LoadAlone(storage, directory, state.state, options).status());
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
  MemoryLedger memory;
  Saver saver(storage, exchange, memory);
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

// Many small tensors: what a save and the opening of a checkpoint cost beside their bytes. The
// argument: tensors.
class Many {
 public:
  explicit Many(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      tensors_.emplace_back(absl::StrCat("language_model.decoder.layers.", i, ".weight"),
                            DType::kF32, std::vector<int64_t>{4, 4});
      state_.tensors.push_back(tensors_.back().tensor());
    }
  }

  const CheckpointState& state() const { return state_; }

 private:
  std::vector<WholeTensor> tensors_;
  CheckpointState state_;
};

// Until threads write, with the plan of the save before.
void BM_BeginAgain(benchmark::State& bench) {
  MemoryStorage storage;
  const Many many(bench.range(0));
  Exchange exchange;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  MemoryLedger memory;
  Saver saver(storage, exchange, memory);
  int64_t saves = 0;
  const auto save = [&] {
    const std::string directory = absl::StrCat("/", saves++);
    CHECK_OK(storage.MakeDirectory(directory));
    CHECK_OK(saver.Begin(directory, many.state(), {.save_id = "b"}, stream));
    const SaveReport report = saver.Finish().value();
    CHECK_OK(storage.RemoveTree(directory));
    return report;
  };
  save();
  for (auto _ : bench) {
    const SaveReport report = save();
    CHECK(report.plan_cached);
    bench.SetIterationTime(absl::ToDoubleSeconds(report.planned));
  }
}

void BM_OpenIndex(benchmark::State& bench) {
  MemoryStorage storage;
  const Many many(bench.range(0));
  CHECK_OK(SaveAlone(storage, "/c", many.state()));
  for (auto _ : bench) {
    const std::string bytes = ReadIndexBytes(storage, "/c", /*foreign=*/false).value();
    benchmark::DoNotOptimize(ParseIndexBytes(bytes).value().tensors.size());
  }
}

BENCHMARK(BM_DirectWrite)->ArgName("threads")->Arg(1)->Arg(2)->Iterations(3)->UseRealTime();
BENCHMARK(BM_Save)->Iterations(3)->UseRealTime();
BENCHMARK(BM_DirectRead)->ArgName("threads")->Arg(1)->Arg(2)->Arg(4)->Iterations(3)->UseRealTime();
BENCHMARK(BM_Load)
    ->ArgNames({"readers", "foreign"})
    ->Args({2, 0})
    ->Args({4, 0})
    ->Args({2, 1})
    ->Iterations(3)
    ->UseRealTime();
BENCHMARK(BM_AsyncStall)->Arg(0)->Arg(1000)->Arg(3000)->Iterations(3)->UseManualTime();
BENCHMARK(BM_BeginAgain)->Arg(1000)->Arg(10000)->Iterations(5)->UseManualTime();
BENCHMARK(BM_OpenIndex)->Arg(10000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hetero
