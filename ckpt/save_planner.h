#ifndef HETERO_CKPT_SAVE_PLANNER_H_
#define HETERO_CKPT_SAVE_PLANNER_H_

// The plan of all ranks for a save, kept as long as none of them has another structure.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/save.h"

namespace hetero {

class SavePlanner {
 public:
  // `exchange` outlives it.
  explicit SavePlanner(Exchange& exchange) : exchange_(exchange) {}

  // Makes the plan that of `state`, with all members, who save into the same `directory` with the
  // same options. Errors, the same on all: INVALID_ARGUMENT naming ranks that save something else,
  // or the key that makes no plan.
  absl::Status Update(const CheckpointState& state, std::string_view directory,
                      const SaveOptions& options);

  // Of the last Update that returned OK.
  const WorldPlan& plan() const { return plan_; }
  // Whether it found the plan as it was.
  bool cached() const { return cached_; }

 private:
  Exchange& exchange_;
  CheckpointState described_;  // what description_ is of, without values
  uint64_t description_ = 0;
  std::vector<uint64_t> descriptions_;  // of all members, of the plan
  WorldPlan plan_;
  uint64_t plan_hash_ = 0;
  bool cached_ = false;
};

}  // namespace hetero

#endif  // HETERO_CKPT_SAVE_PLANNER_H_
