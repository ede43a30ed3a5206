#ifndef HETERO_BASE_THREAD_H_
#define HETERO_BASE_THREAD_H_

#include <functional>
#include <string_view>
#include <thread>

#include "absl/status/statusor.h"

namespace hetero {

// A thread that runs `body`, which lets no exception out. `what` says whose it is: "rank 3".
// Errors: RESOURCE_EXHAUSTED "cannot start the thread of rank 3: ..." with the limits on memory and
// processes when the system refuses one.
absl::StatusOr<std::thread> StartThread(std::string_view what, std::function<void()> body);

}  // namespace hetero

#endif  // HETERO_BASE_THREAD_H_
