#ifndef HETERO_CKPT_FORMAT_TESTING_PATTERN_CHECKPOINT_H_
#define HETERO_CKPT_FORMAT_TESTING_PATTERN_CHECKPOINT_H_

// A small checkpoint whose elements follow from key and place, so that any box of any layout can be
// checked without the original.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// The bytes of a box of the tensor `key`, of PatternValue (ckpt/testing/pattern.h). Precondition:
// `type` is F32, BF16, I64 or I8.
std::string PatternBytes(std::string_view key, ElementType type, std::span<const int64_t> shape,
                         const Box& box);

enum class PatternBoxes {
  kGrid,       // w in 2x2 blocks
  kIrregular,  // w in the boxes of two flat ranges, cut at element 13
};

// Writes a directory as a save of two ranks leaves it, with all that describes it: w F32 [4,8], b
// BF16 [5], exp.weight I64 [2,3,2] by rows, a scalar s, e F32 [0,3], the object obj, common state.
absl::Status WritePatternCheckpoint(Storage& storage, const std::filesystem::path& folder,
                                    PatternBoxes boxes);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_TESTING_PATTERN_CHECKPOINT_H_
