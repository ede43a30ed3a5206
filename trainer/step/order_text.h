#ifndef HETERO_TRAINER_STEP_ORDER_TEXT_H_
#define HETERO_TRAINER_STEP_ORDER_TEXT_H_

// A program as papers write it, for tests: what is computed and transferred in which order.

#include <span>
#include <string>

#include "hetero/trainer/step/op.h"

namespace hetero {

// "rf0 F0 [sf0+rb0] B0": sends where they are posted, receives where they are waited for, without
// loads and what ends a step. Two transfers are in brackets when both are posted before the first
// is waited for. Transfers of several edges are written once.
std::string OrderText(std::span<const Op> program);

// Microbatches whose forward ran and whose backward, weight half included, did not, at most.
int PeakInFlight(std::span<const Op> program);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_ORDER_TEXT_H_
