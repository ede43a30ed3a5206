#ifndef HETERO_CKPT_INSPECT_TENSORS_H_
#define HETERO_CKPT_INSPECT_TENSORS_H_

// Tensors of a checkpoint, ours or of other programs, or of safetensors files, one at a time or box
// by box.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/params/box_map.h"

namespace hetero {

struct TensorHead {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;

  // "bf16 [4,8]".
  std::string ToString() const;
  bool operator==(const TensorHead&) const = default;
};

class StoredTensors {
 public:
  // `path` is the directory of a complete checkpoint, one that torch.distributed.checkpoint or
  // Megatron wrote, a safetensors file, or a folder of such.
  // Errors: those of CheckComplete, ParseManifest, ReadIndexBytes and SafetensorsReader::Open.
  static absl::StatusOr<std::unique_ptr<StoredTensors>> Open(Storage& storage,
                                                             const std::filesystem::path& path);
  virtual ~StoredTensors() = default;

  const std::map<std::string, TensorHead, std::less<>>& heads() const { return heads_; }

  // Keys in the order that whoever wrote the file told, in the metadata "order" of a safetensors
  // file, one a line; empty where nobody did.
  const std::vector<std::string>& order() const { return order_; }

  // The elements, row-major. Precondition: `key` is one of heads().
  // Errors: DATA_LOSS naming file, key and block when a checksum is not that of the manifest; those
  // of reading; UNIMPLEMENTED in checkpoints for types that `tensor` does not have.
  absl::StatusOr<std::vector<std::byte>> Read(std::string_view key) const;

  // Those of a box, which lie together in the tensor. Precondition: `out` has their size.
  virtual absl::Status Read(std::string_view key, const Box& box,
                            std::span<std::byte> out) const = 0;

 protected:
  std::map<std::string, TensorHead, std::less<>> heads_;
  std::vector<std::string> order_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_TENSORS_H_
