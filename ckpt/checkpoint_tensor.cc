#include "hetero/ckpt/checkpoint_tensor.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {

absl::StatusOr<std::string> ObjectName(std::string_view key, std::span<const int64_t> offset,
                                       std::span<const int64_t> shape) {
  if (key.empty() || key.find('/') != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("object key \"", key, "\": must have a character and no \"/\""));
  }
  if (shape.empty() && offset.empty()) return absl::StrCat(key, "/shard_0_1");
  if (!IsInside({.offset = {offset.begin(), offset.end()},
                 .size = std::vector<int64_t>(offset.size(), 1)},
                shape)) {
    return absl::InvalidArgumentError(absl::StrCat("object ", key, ": shard ", ShapeText(offset),
                                                   " is not one of ", ShapeText(shape)));
  }
  return absl::StrCat(key, "/shard_", absl::StrJoin(offset, "."), "_", absl::StrJoin(shape, "."));
}

std::vector<CheckpointTensor> ToCheckpointTensors(std::span<const StateTensor> states) {
  std::vector<CheckpointTensor> tensors;
  for (const StateTensor& state : states) {
    CheckpointTensor tensor{.key = state.name, .dtype = state.local.dtype(), .shape = state.shape};
    for (const ShardBox& box : state.boxes) {
      CheckpointTensor::Piece piece{.box = {.offset = box.logical_begin, .size = box.extent},
                                    .local = state.local,
                                    .main = state.replica == 0 && box.replica == 0,
                                    .constant = state.constant};
      for (size_t d = 0; d < box.extent.size(); ++d) {
        piece.local = piece.local.Slice(static_cast<int>(d), box.local_begin[d], box.extent[d]);
      }
      tensor.pieces.push_back(std::move(piece));
    }
    if (!tensor.pieces.empty()) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace hetero
