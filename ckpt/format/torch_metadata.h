#ifndef HETERO_CKPT_FORMAT_TORCH_METADATA_H_
#define HETERO_CKPT_FORMAT_TORCH_METADATA_H_

// The index of torch.distributed.checkpoint, ".metadata": which box of which tensor lies in which
// item of which file. Written for Python's readers, read where a checkpoint has no manifest.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

inline constexpr std::string_view kTorchMetadataName = ".metadata";

// An item of a file.
struct StoredPlace {
  std::string file;
  int64_t offset = 0;
  int64_t bytes = 0;
};

struct StoredChunk {
  StoredPlace place;
  Box box;
};

struct StoredTensor {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;
  std::vector<StoredChunk> chunks;
};

struct StoredIndex {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, StoredPlace> objects;
};

// Precondition: PyTorch has the types, and text is UTF-8.
std::string TorchMetadataText(const StoredIndex& index);

// Keys are given as the file has them. Nothing of the pickle is executed.
// Errors: DATA_LOSS naming the key for a tensor without a place, for boxes outside of their tensor
// or that leave out or share an element, for items of one file that overlap, for a file that is
// not a plain name; UNIMPLEMENTED for items that were transformed (compressed).
absl::StatusOr<StoredIndex> ParseTorchMetadata(std::string bytes);

// The item of a chunk, read from its file. DATA_LOSS for an item outside of the file, or of another
// type or shape than the index says.
absl::StatusOr<TorchItem> ReadStoredItem(const ReadableFile& file, const StoredTensor& tensor,
                                         const StoredChunk& chunk);

// metadata.json, by which Megatron knows a directory as a checkpoint.
inline constexpr std::string_view kBackendName = "metadata.json";
std::string BackendText();

// FAILED_PRECONDITION for another backend than torch_dist or another version than 1.
absl::Status CheckBackend(std::string_view text);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_TORCH_METADATA_H_
