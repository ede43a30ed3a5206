#ifndef HETERO_CKPT_PLAN_DISTRIBUTION_H_
#define HETERO_CKPT_PLAN_DISTRIBUTION_H_

// Who writes, and who reads, what several ranks hold. Pure functions of what all know, so that
// nobody has to ask.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "hetero/params/box_map.h"

namespace hetero {

// A box of a tensor, in the memory of some members.
struct HeldBox {
  std::string_view key;
  const Box* box = nullptr;
  int64_t bytes = 0;
  std::vector<int64_t> holders;  // members, ascending
  bool has_main = false;         // whether one of them may write it
};

enum class Distribution {
  kSave,  // of boxes that a holder may write
  kLoad,  // of all, those first
};

// Each box's owner among its holders; -1 for one that is not considered. Boxes go, with few holders
// and large ones first, to the holder with the fewest bytes so far, the lowest of equal ones. The
// order in which boxes are given does not matter.
std::vector<int64_t> Distribute(std::span<const HeldBox> boxes, int64_t num_members,
                                Distribution kind);

// For each of `num_files` what it holds, as indices: the largest first, each to the file with the
// fewest bytes.
std::vector<std::vector<size_t>> DivideAmongFiles(std::span<const int64_t> bytes,
                                                  int64_t num_files);

// Boxes of at most `max_bytes` that make up `box`, in row-major order; dims are cut from the first
// one that has more than one element. Precondition: an element fits.
std::vector<Box> CutToSize(const Box& box, int64_t element_bytes, int64_t max_bytes);

}  // namespace hetero

#endif  // HETERO_CKPT_PLAN_DISTRIBUTION_H_
