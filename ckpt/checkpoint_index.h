#ifndef HETERO_CKPT_CHECKPOINT_INDEX_H_
#define HETERO_CKPT_CHECKPOINT_INDEX_H_

// What a checkpoint directory holds and where, whoever wrote it.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/params/box_map.h"
#include "nlohmann/json.hpp"

namespace hetero {

// Whoever wrote it. Only ours has checksums.
enum class CheckpointOrigin : uint8_t {
  kOurs,
  kTorch,        // torch.distributed.checkpoint or Megatron
  kSafetensors,  // a public model, or sharded files of torch.distributed.checkpoint
};

struct IndexedChunk {
  Box box;
  int file = 0;             // of the index
  int64_t offset = 0;       // of the payload; of kTorch, of the item that has it inside
  int64_t bytes = 0;        // likewise
  int64_t first_block = 0;  // of block_crc32
};

struct IndexedTensor {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;
  std::vector<IndexedChunk> chunks;
};

struct IndexedObject {
  int file = 0;
  int64_t offset = 0;
  int64_t bytes = 0;
  uint32_t crc32 = 0;
};

struct CheckpointFile {
  std::string name;
  int64_t bytes = -1;  // -1: nobody said
};

// Chunks of a tensor have each of its elements once.
struct CheckpointIndex {
  CheckpointOrigin origin = CheckpointOrigin::kOurs;
  int64_t iteration = 0;
  nlohmann::json state = nlohmann::json::object();
  nlohmann::json grids = nlohmann::json::object();
  std::vector<CheckpointFile> files;
  std::map<std::string, IndexedTensor, std::less<>> tensors;
  std::map<std::string, IndexedObject, std::less<>> objects;
  int64_t block_bytes = kBlockBytes;  // in which chunks are checked
  std::vector<uint32_t> block_crc32;

  bool foreign() const { return origin != CheckpointOrigin::kOurs; }
};

// The bytes of the files that make up an index, so that one rank reads them for all.
// Errors: NOT_FOUND a directory with neither a manifest nor an index of others nor safetensors
// files; DATA_LOSS a manifest that is not the one that was published; FAILED_PRECONDITION others'
// and not `foreign`; those of SafetensorsReader::Open and ReadSafetensorsShards.
absl::StatusOr<std::string> ReadIndexBytes(Storage& storage, const std::filesystem::path& directory,
                                           bool foreign);

// Errors: DATA_LOSS naming key and chunk.
absl::StatusOr<CheckpointIndex> ParseIndexBytes(std::string_view bytes);

}  // namespace hetero

#endif  // HETERO_CKPT_CHECKPOINT_INDEX_H_
