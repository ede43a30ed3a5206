#ifndef HETERO_CKPT_SAFETENSORS_SHARDS_H_
#define HETERO_CKPT_SAFETENSORS_SHARDS_H_

// Tensors whose boxes lie in several safetensors files, as HuggingFaceStorageWriter of
// torch.distributed.checkpoint leaves them: the metadata "DCP_SHARDING_INFO" of a file has the
// place of each of its tensors in the whole one, {"key": {"saved_offsets": [4, 0]}, ...}.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/params/box_map.h"

namespace hetero {

struct SafetensorsShard {
  Box box;           // in the whole tensor
  std::string file;  // in the folder
  int64_t offset = 0;
  int64_t bytes = 0;
};

struct ShardedSafetensor {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;  // what the shards reach
  std::vector<SafetensorsShard> shards;
};

// All tensors of the *.safetensors files that lie in `folder` itself; a file without that metadata
// has whole tensors. No tensors when no file has it: the folder is of another kind.
// Errors: DATA_LOSS naming file and tensor for places that are none or missing, for shards of
// different types and for elements that two shards have or none; those of SafetensorsReader::Open.
absl::StatusOr<std::map<std::string, ShardedSafetensor>> ReadSafetensorsShards(
    Storage& storage, const std::filesystem::path& folder);

}  // namespace hetero

#endif  // HETERO_CKPT_SAFETENSORS_SHARDS_H_
