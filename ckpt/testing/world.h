#ifndef HETERO_CKPT_TESTING_WORLD_H_
#define HETERO_CKPT_TESTING_WORLD_H_

// Ranks that save and load together, as threads.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// One rank of them: its number, what joins it to the others, a stream of the CPU and what
// its memory is counted in.
struct RankInWorld {
  int64_t rank = 0;
  Exchange& exchange;
  Stream& stream;
  MemoryLedger& memory;
};

// Runs `body` on each of `num_ranks`. The first failure.
absl::Status RunWorld(int64_t num_ranks, const std::function<absl::Status(RankInWorld)>& body);

// The checkpoint in `directory` becomes one that can be loaded, as by ckpt/publish.
absl::Status Commit(Storage& storage, const std::filesystem::path& directory);

// Saves a state of one rank, and commits it.
absl::Status SaveAlone(Storage& storage, std::string_view directory, const CheckpointState& state);

// Loads a state of one rank.
absl::StatusOr<LoadReport> LoadAlone(Storage& storage, std::string_view directory,
                                     CheckpointState& state, const LoadOptions& options = {});

// A tensor of one rank that has all of it, with memory of its own.
class WholeTensor {
 public:
  WholeTensor(std::string key, DType dtype, std::vector<int64_t> shape);
  WholeTensor(WholeTensor&&) = default;

  const CheckpointTensor& tensor() const { return tensor_; }
  std::vector<float> Floats() const;  // of f32

 private:
  std::vector<double> memory_;
  CheckpointTensor tensor_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_TESTING_WORLD_H_
