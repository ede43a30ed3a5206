#ifndef HETERO_MODELS_BLOCKS_NEAREST_SIZE_H_
#define HETERO_MODELS_BLOCKS_NEAREST_SIZE_H_

#include <cstdint>

namespace hetero {

// The size of an axis nearest to `size` for which `is_legal(size)` holds, of two the smaller.
// Precondition: 1 is legal.
template <typename IsLegal>
int64_t NearestSize(int64_t size, IsLegal is_legal) {
  for (int64_t distance = 0;; ++distance) {
    if (size > distance && is_legal(size - distance)) return size - distance;
    if (is_legal(size + distance)) return size + distance;
  }
}

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_NEAREST_SIZE_H_
