#ifndef HETERO_CKPT_CHECKPOINT_TENSOR_H_
#define HETERO_CKPT_CHECKPOINT_TENSOR_H_

// What one rank has of a checkpoint: boxes of tensors, and small values. The same list describes
// what is saved and what is to be filled by a load.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/params/state_tensor.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/view.h"
#include "nlohmann/json.hpp"

namespace hetero {

// Several of a list may have one key: their pieces are pieces of the same tensor.
struct CheckpointTensor {
  struct Piece {
    Box box;  // of the tensor
    // The box's elements in row-major order. Dims of size 1 may be left out or added.
    TensorView local;
    // Whether this rank may write it. Of all ranks that hold a box as a piece one may.
    bool main = true;
    // It is the same in all saves of this Saver.
    bool constant = false;
    // Of what is saved and lies in no memory, instead of `local`: writes `count` elements of the
    // box, from `first` on, to `out`. One thread of the save calls it until AwaitCopied returns.
    std::function<absl::Status(int64_t first, int64_t count, std::byte* out)> source = nullptr;
  };

  std::string key;  // its name in the files
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // of the whole tensor
  std::vector<Piece> pieces;
  // A vocabulary: rows (dim 0) that foreign files have beyond `shape` are padding and left out.
  bool padded_rows = false;
};

// A value that is saved and loaded whole. Objects on disk are JSON and, for other readers, pickled.
struct CheckpointObject {
  std::string name;  // as by ObjectName
  nlohmann::json value;
  bool main = true;  // this rank writes it
};

// All that a rank saves, or wants filled.
struct CheckpointState {
  std::vector<CheckpointTensor> tensors;
  std::vector<CheckpointObject> objects;
};

// "language.rng_state/shard_0.1_2.2": shard `offset` of `shape` of them, in shards; without dims
// "key/shard_0_1".
// Errors: INVALID_ARGUMENT a key with "/", an offset outside.
absl::StatusOr<std::string> ObjectName(std::string_view key, std::span<const int64_t> offset = {},
                                       std::span<const int64_t> shape = {});

// The states under their own names. What has no element is left out.
std::vector<CheckpointTensor> ToCheckpointTensors(std::span<const StateTensor> states);

}  // namespace hetero

#endif  // HETERO_CKPT_CHECKPOINT_TENSOR_H_
