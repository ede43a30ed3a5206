#include "hetero/tensor/stream.h"

#include <time.h>

namespace hetero {

absl::Duration ThreadTime() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return absl::DurationFromTimespec(now);
}

}  // namespace hetero
