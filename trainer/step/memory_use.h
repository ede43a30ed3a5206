#ifndef HETERO_TRAINER_STEP_MEMORY_USE_H_
#define HETERO_TRAINER_STEP_MEMORY_USE_H_

#include <cstdint>

#include "hetero/tensor/memory.h"

namespace hetero {

// What a rank holds of its device. Arenas are taken whole when a run begins; what is free in them
// is taken, but not used.
struct MemoryUse {
  MemoryLedger taken;
  int64_t used_bytes = 0;
  int64_t most_used_bytes = 0;  // with every arena as full as it was at most so far

  bool operator==(const MemoryUse&) const = default;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_MEMORY_USE_H_
