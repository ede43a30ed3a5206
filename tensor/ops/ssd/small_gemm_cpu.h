#ifndef HETERO_TENSOR_OPS_SSD_SMALL_GEMM_CPU_H_
#define HETERO_TENSOR_OPS_SSD_SMALL_GEMM_CPU_H_

// Products of matrices that fit the first-level cache, where a BLAS call would spend its time
// packing: register tiles straight from memory, columns of B and C padded to whole vectors.

#include <cstdint>

namespace hetero::internal {

// Elements of one vector of a tile: 64 bytes, the widest of the instruction sets.
template <typename T>
inline constexpr int64_t kVectorElements = 64 / static_cast<int64_t>(sizeof(T));

template <typename T>
constexpr int64_t PadToVector(int64_t count) {
  return (count + kVectorElements<T> - 1) / kVectorElements<T> * kVectorElements<T>;
}

// Which part of A is known to be zero and need not be read: above or below its diagonal.
enum class Triangle : uint8_t { kNone, kLower, kUpper };

// C = A B, or C += A B. Precondition: n is a multiple of kVectorElements; C overlaps neither A nor
// B. A is read element by element, so it may be a transposed view.
template <typename T>
struct SmallGemmArgs {
  int64_t m, n, k;
  const T* a;
  int64_t a_row_stride, a_column_stride;
  const T* b;
  int64_t b_row_stride;
  T* c;
  int64_t c_row_stride;
  bool accumulate = false;
  Triangle a_shape = Triangle::kNone;
};

void SmallGemm(const SmallGemmArgs<float>& args);
void SmallGemm(const SmallGemmArgs<double>& args);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_SMALL_GEMM_CPU_H_
