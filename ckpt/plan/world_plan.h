#ifndef HETERO_CKPT_PLAN_WORLD_PLAN_H_
#define HETERO_CKPT_PLAN_WORLD_PLAN_H_

// What all ranks together save, or want filled, and who does what of it: made by every rank from
// the same descriptions.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/plan/distribution.h"
#include "hetero/params/box_map.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

// Shapes, types and boxes of a rank's state without values, as bytes to be sent. Equal states have
// equal bytes.
std::string DescribeState(const CheckpointState& state);

// Whether the two have the same tensors and objects in the same order, with the same pieces. They
// have then the same description, which takes more time to make.
bool IsLike(const CheckpointState& a, const CheckpointState& b);

struct WorldShard {
  Box box;
  int64_t bytes = 0;
  std::vector<int64_t> holders;  // members, ascending
  std::vector<int64_t> mains;    // of them, who may write it
  int64_t owner = -1;            // who does; -1: not considered
};

struct WorldTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  bool padded_rows = false;
  std::vector<WorldShard> shards;  // sorted by box
};

struct WorldPlan {
  std::map<std::string, WorldTensor, std::less<>> tensors;           // by key
  std::map<std::string, std::vector<int64_t>, std::less<>> objects;  // members that want a name
  std::map<std::string, int64_t, std::less<>> writers;               // of objects

  // Equal on all ranks, or they do not save the same.
  uint64_t Hash() const;
};

// `descriptions` by member.
// Errors: INVALID_ARGUMENT naming key and ranks: types or shapes that differ; for kSave also boxes
// that two may write, or that nobody may, and objects likewise; DATA_LOSS what no DescribeState
// wrote.
absl::StatusOr<WorldPlan> MakeWorldPlan(std::span<const std::string> descriptions,
                                        Distribution kind);

}  // namespace hetero

#endif  // HETERO_CKPT_PLAN_WORLD_PLAN_H_
