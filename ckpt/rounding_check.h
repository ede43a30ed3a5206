#ifndef HETERO_CKPT_ROUNDING_CHECK_H_
#define HETERO_CKPT_ROUNDING_CHECK_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Whether bf16 tensors are what f32 ones round to that are called `prefix` and their name: weights
// and their masters. Of both the elements that this rank has are compared, but for tensors in
// `left_out`. Waits for `stream`, the device of the tensors; takes memory of the host for 16 MiB of
// elements.
// Errors: DATA_LOSS naming both keys, how many elements of how many differ and the first of them.
absl::Status CheckRoundings(const CheckpointState& state, std::string_view prefix,
                            const std::vector<std::string>& left_out, Stream& stream);

}  // namespace hetero

#endif  // HETERO_CKPT_ROUNDING_CHECK_H_
