#ifndef HETERO_TRAINER_STEP_TRANSFER_CHECK_H_
#define HETERO_TRAINER_STEP_TRANSFER_CHECK_H_

// Proves that what is sent in a step is received.

#include <span>

#include "absl/status/status.h"
#include "hetero/trainer/step/checker.h"

namespace hetero {

// `channels`: by number.
// Errors: FAILED_PRECONDITION naming programs and microbatches when the ends of a channel do not
// post the same microbatches in the same order. Waits are CheckOrder's (order_rules.h).
absl::Status CheckTransfers(std::span<const CheckedProgram> programs,
                            std::span<const ChannelEnds> channels);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_TRANSFER_CHECK_H_
