#ifndef HETERO_PARAMS_SHARING_H_
#define HETERO_PARAMS_SHARING_H_

// Who shares the elements that a rank holds: one answer for what is summed over ranks, what counts
// in a norm and what counts as a parameter.

#include <cstdint>
#include <vector>

#include "hetero/params/parameter_spec.h"
#include "hetero/params/shard.h"

namespace hetero {

// Neighbouring elements that the same ranks hold. `replica` of `replicas` as in ShardBox.
struct SharedRun {
  int64_t begin = 0;
  int64_t count = 0;
  int64_t replica = 0;
  int64_t replicas = 1;
  // Each of the replicas has a part of the gradient, and their sum is the gradient; false where
  // all have all of it. Such replicas are consecutive tensor-parallel ranks.
  bool partial = false;

  // Over all ranks that divide or share a parameter, each element is owned once.
  bool owned() const { return replica == 0; }

  bool operator==(const SharedRun&) const = default;
};

// Of the local tensor's elements in row-major order, ascending, covering it; no two neighbours are
// alike. `shard` is ShardOf of the spec.
std::vector<SharedRun> SharedRuns(const ParameterSpec& spec, const Shard& shard);

}  // namespace hetero

#endif  // HETERO_PARAMS_SHARING_H_
