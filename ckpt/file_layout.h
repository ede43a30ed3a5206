#ifndef HETERO_CKPT_FILE_LAYOUT_H_
#define HETERO_CKPT_FILE_LAYOUT_H_

// What a rank writes of a plan, and where in which file. Pure.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/snapshot.h"
#include "hetero/params/box_map.h"

namespace hetero {

struct OwnedChunk {
  std::string_view key;
  const WorldTensor* tensor = nullptr;
  const WorldShard* shard = nullptr;
  Box box;  // the shard's, or a part of it
};

// Of a member, in the order of the plan: all members know it of all. Shards above `max_bytes` are
// cut.
std::vector<OwnedChunk> OwnedChunks(const WorldPlan& plan, int64_t member, int64_t max_bytes);

struct FileLayout {
  std::vector<FilePlan> files;  // those with anything in them
  struct Place {
    size_t file = 0;
    size_t item = 0;
  };
  std::vector<Place> chunks;  // parallel to OwnedChunks
  struct Source {
    size_t tensor = 0;  // of the state's
    size_t piece = 0;   // of the tensor's
  };
  std::vector<Source> sources;  // likewise: where the chunk is a part of
  struct Object {
    std::string name;
    size_t index = 0;  // of the state's objects
    Place place;
  };
  std::vector<Object> objects;  // that the member writes
  bool has_constants = false;   // the last file has what is constant, and nothing else

  int64_t bytes() const;
};

// Objects take turns between the files, tensors go largest first to the emptiest one, objects
// stand first in a file. `state`: of the member. `constants_apart`: what is constant goes to one
// file more.
// Errors: those of LayOutItem.
absl::StatusOr<FileLayout> LayOutFiles(const WorldPlan& plan, int64_t member,
                                       const CheckpointState& state, int64_t num_files,
                                       int64_t max_chunk_bytes, bool constants_apart = false);

// Lets `layout`, of a state that IsLike `state`, write what that has now, at the same places.
// False, with a layout that is of no use, when an object has another size.
bool Rebind(const CheckpointState& state, FileLayout& layout);

}  // namespace hetero

#endif  // HETERO_CKPT_FILE_LAYOUT_H_
