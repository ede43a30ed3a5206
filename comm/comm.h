#ifndef HETERO_COMM_COMM_H_
#define HETERO_COMM_COMM_H_

// The whole library in one include.

#include "hetero/comm/all_to_all_rows.h"        // IWYU pragma: export
#include "hetero/comm/bridge/bridge.h"          // IWYU pragma: export
#include "hetero/comm/communicator.h"           // IWYU pragma: export
#include "hetero/comm/loopback/loopback.h"      // IWYU pragma: export
#include "hetero/comm/nccl/nccl_world.h"        // IWYU pragma: export
#include "hetero/comm/run_ranks.h"              // IWYU pragma: export
#include "hetero/comm/threads/threads_world.h"  // IWYU pragma: export

#endif  // HETERO_COMM_COMM_H_
