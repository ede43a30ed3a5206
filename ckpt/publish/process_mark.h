#ifndef HETERO_CKPT_PUBLISH_PROCESS_MARK_H_
#define HETERO_CKPT_PUBLISH_PROCESS_MARK_H_

// Which process something belongs to, for other processes that want to know whether it is gone.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace hetero {

struct ProcessMark {
  std::string host;
  int64_t pid = 0;
  // Processes of one start of one kernel and one namespace have numbers that can be compared: a
  // host name is shared by containers and by machines.
  std::string boot_id;
  std::string pid_namespace;
  // In clock ticks since the kernel started: a number is used again, never with the same start.
  std::string process_start;

  nlohmann::json ToJson() const;
  // "process 4711 on host gpu3".
  std::string ToString() const;
};

// Of this process.
ProcessMark ThisProcess();

// Fields that are missing stay empty.
ProcessMark ProcessMarkOf(const nlohmann::json& json);

// Whether it is certain here that the process has ended. False for processes of other machines.
bool HasEnded(const ProcessMark& mark);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_PROCESS_MARK_H_
