#ifndef HETERO_TENSOR_OPS_REGISTER_PRODUCT_H_
#define HETERO_TENSOR_OPS_REGISTER_PRODUCT_H_

// The operands of a product of matrices that fit the first-level cache, where a library's call
// would spend its time packing: register tiles straight from memory, columns of b and c padded to
// whole vectors. register_product-inl.h computes it.

#include <cstdint>

#include "hetero/base/rounding.h"

namespace hetero::cpu {

// Elements of 64 bytes, whole vectors of every instruction set.
template <typename T>
inline constexpr int64_t kPaddedElements = 64 / static_cast<int64_t>(sizeof(T));

template <typename T>
constexpr int64_t PadToVector(int64_t count) {
  return RoundUp(count, kPaddedElements<T>);
}

// Which part of a is known to be zero and need not be read: above or below its diagonal.
enum class Triangle : uint8_t { kNone, kLower, kUpper };

// c[m,n] = a[m,k] b[k,n], added to c if `accumulate`. Element (i, l) of a is
// a[i a_row + l a_column]; b and c have contiguous rows. Preconditions: n is a multiple of
// kPaddedElements; c overlaps neither a nor b.
template <typename T>
struct RegisterProductArgs {
  int64_t m, n, k;
  const T* a;
  int64_t a_row, a_column;
  const T* b;
  int64_t b_row;
  T* c;
  int64_t c_row;
  bool accumulate = false;
  Triangle a_shape = Triangle::kNone;
};

}  // namespace hetero::cpu

#endif  // HETERO_TENSOR_OPS_REGISTER_PRODUCT_H_
