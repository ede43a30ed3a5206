#ifndef HETERO_TRAINER_STEP_ORDER_RULES_H_
#define HETERO_TRAINER_STEP_ORDER_RULES_H_

// What the program of a rank keeps to by itself, whatever its peers do.

#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "hetero/trainer/step/op.h"

namespace hetero {

// Of every stage in `program`: a microbatch is loaded, goes forward once and, where any of the
// stage's does, backward once, in one operation or in its input half and then its weight half;
// weight halves come in the order of the input halves. What is received has arrived before it is
// used, and what is sent has been computed. The slot of a microbatch is its own until the last of
// its operations, waits for what was sent from it included. All posts are waited for, those of a
// channel in their order. The gradient sum comes behind all backward passes, the stage's end behind
// it, the update behind all.
// `name`: of an operation, "language.0 W2".
// Errors: FAILED_PRECONDITION naming the operation and the rule, "language.0 W2 comes before
// language.0 I2".
absl::Status CheckOrder(std::span<const Op> program,
                        absl::FunctionRef<std::string(const Op&)> name);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_ORDER_RULES_H_
