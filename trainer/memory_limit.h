#ifndef HETERO_TRAINER_MEMORY_LIMIT_H_
#define HETERO_TRAINER_MEMORY_LIMIT_H_

// How much memory of the host a run may use.

#include <cstdint>
#include <filesystem>
#include <string>

namespace hetero {

struct MemoryLimit {
  int64_t bytes = 0;
  std::string what;  // "the machine has" or "/sys/fs/cgroup/memory.max allows", before the bytes
};

// Where the system tells the limits of control groups, which is what holds a container.
struct ControlGroupFiles {
  std::filesystem::path membership = "/proc/self/cgroup";
  std::filesystem::path mount = "/sys/fs/cgroup";
};

// The least of the machine's memory and the limits of the process's control group and all groups
// above it, of version 2 (memory.max) and version 1 (memory.limit_in_bytes). What cannot be read is
// no limit.
MemoryLimit HostMemoryLimit(const ControlGroupFiles& files = {});

}  // namespace hetero

#endif  // HETERO_TRAINER_MEMORY_LIMIT_H_
