#ifndef HETERO_CKPT_STORAGE_TESTING_CRASH_STORAGE_H_
#define HETERO_CKPT_STORAGE_TESTING_CRASH_STORAGE_H_

// A file system in memory that knows what a loss of power may leave of it: of each file its bytes
// up to its last Sync and any number of the changes after it, in order; of each folder its names up
// to its last SyncDirectory and any of the changes after it.

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {

class CrashStorage : public MemoryStorage {
 public:
  // What was there before counts as durable.
  CrashStorage() = default;
  explicit CrashStorage(internal::MemoryDisk disk) : MemoryStorage(disk), start_(disk) {}

  // A point in the order of changes, told to those who look at crashes behind it.
  void Mark(std::string_view text);

  // One disk after a loss of power.
  struct Crash {
    MemoryStorage& disk;
    std::vector<std::string> marks;  // those passed before
    std::string description;         // what was kept of what was not durable
  };

  // Calls `look` with every disk that a crash can leave. Of a moment with more than `limit` of them
  // it takes that many, drawn by `generator`, and always that where nothing and where everything
  // was kept. Returns how many it looked at. No storage call may run meanwhile.
  int64_t ForEachCrash(int64_t limit, std::mt19937_64& generator,
                       absl::FunctionRef<void(const Crash&)> look) const;

 protected:
  void Record(const internal::DiskChange& change) override;

 private:
  struct Entry {
    internal::DiskChange change;
    std::string mark;  // not empty: no change
  };

  internal::MemoryDisk start_;
  std::vector<Entry> log_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_STORAGE_TESTING_CRASH_STORAGE_H_
