#ifndef HETERO_CKPT_PLAN_BOX_H_
#define HETERO_CKPT_PLAN_BOX_H_

// Arithmetic of boxes: elements [offset[d], offset[d] + size[d]) in every dim d. Without dims, the
// one element of a scalar.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hetero/params/box_map.h"

namespace hetero {

// All of a tensor of `shape`.
Box WholeBox(std::span<const int64_t> shape);

int64_t NumElements(std::span<const int64_t> shape);
inline int64_t NumElements(const Box& box) { return NumElements(box.size); }

// What both have; nullopt where no element. Precondition: equally many dims.
std::optional<Box> Intersect(const Box& a, const Box& b);

// Whether `box` has as many dims as `shape`, no negative numbers and nothing outside.
bool IsInside(const Box& box, std::span<const int64_t> shape);

// "[4,8]"
std::string ShapeText(std::span<const int64_t> shape);

// "[0,4]+[2,4]": offset, then size.
std::string ToString(const Box& box);

}  // namespace hetero

#endif  // HETERO_CKPT_PLAN_BOX_H_
