#ifndef HETERO_CKPT_INSPECT_TESTING_TWO_TENSORS_H_
#define HETERO_CKPT_INSPECT_TESTING_TWO_TENSORS_H_

// A checkpoint of a few hundred bytes: "w", f32 [4,8], 0 1 2 .., its left half in one file and its
// right half in another, "b", bf16 [5], and an object. Blocks have 40 bytes, so chunks have
// several.

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// Publishes it in `folder`. `change` is added to element [0,5] of "w".
absl::Status PublishTwoTensors(Storage& storage, const std::filesystem::path& folder,
                               int64_t iteration, float change = 0);

// The elements of a half of "w", 0 or 1, in its chunk.
std::string HalfOfW(int half, float change = 0);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_TESTING_TWO_TENSORS_H_
