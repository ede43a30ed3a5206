#ifndef HETERO_TENSOR_OPS_HOPPER_PRODUCTS_CUH_
#define HETERO_TENSOR_OPS_HOPPER_PRODUCTS_CUH_

// Products of a group of four warps (wgmma) out of tiles in shared memory. A tile is made of panels
// of 64 or 16 columns, row after row; the 16-byte pieces of a row are permuted by the swizzle that
// is as wide as the row, 128 or 32 bytes.

#include <cstdint>
#include <utility>

#include "cute/arch/mma_sm90_gmma.hpp"
#include "cute/arch/mma_sm90_gmma_ext.hpp"
#include "hetero/tensor/ops/hopper/memory.cuh"

namespace hetero::internal {

using cute::SM90::GMMA::Major;

template <int kRows, int kColumns>
struct Panels {
  static_assert(kColumns % 16 == 0);
  static constexpr int kWidth = kColumns % 64 == 0 ? 64 : 16;  // of a panel
  static constexpr int kCount = kColumns / kWidth;
  static constexpr int kRowBytes = 2 * kWidth;
  static constexpr int kPanel = kRows * kWidth;  // elements
  static constexpr int kSize = kRows * kColumns;
  static constexpr uint32_t kBytes = 2 * kSize;

  // What wgmma reads: bits 0-13 the address, 16-29 the distance of panels, 32-45 that of groups of
  // 8 rows, all in units of 16 bytes; bits 62-63 the swizzle, 1 of 128 bytes and 3 of 32.
  __device__ static uint64_t Descriptor(const __nv_bfloat16* from) {
    constexpr uint64_t kFixed = (uint64_t{2 * kPanel >> 4} << 16) |
                                (uint64_t{8 * kRowBytes >> 4} << 32) |
                                (uint64_t{kWidth == 64 ? 1 : 3} << 62);
    return kFixed | (SharedAddress(from) & 0x3ffff) >> 4;
  }

  // To the i-th 16 columns where columns are summed over, and to the i-th 16 rows where rows are.
  static constexpr uint64_t Columns(int i) {
    constexpr int kSteps = kWidth / 16;
    return (i / kSteps * 2 * kPanel + i % kSteps * 32) >> 4;
  }
  static constexpr uint64_t Rows(int i) { return i * 16 * kRowBytes >> 4; }
};

template <int kN, Major kA, Major kB>
struct InstructionOf;
template <Major kA, Major kB>
struct InstructionOf<32, kA, kB> {
  using Shared = cute::SM90::GMMA::MMA_64x32x16_F32BF16BF16_SS<kA, kB>;
};
template <Major kA, Major kB>
struct InstructionOf<64, kA, kB> {
  using Shared = cute::SM90::GMMA::MMA_64x64x16_F32BF16BF16_SS<kA, kB>;
  using Registers = cute::SM90::GMMA::MMA_64x64x16_F32BF16BF16_RS<Major::K, kB>;
};
template <Major kA, Major kB>
struct InstructionOf<80, kA, kB> {
  using Shared = cute::SM90::GMMA::MMA_64x80x16_F32BF16BF16_SS<kA, kB>;
  using Registers = cute::SM90::GMMA::MMA_64x80x16_F32BF16BF16_RS<Major::K, kB>;
};
template <Major kA, Major kB>
struct InstructionOf<112, kA, kB> {
  using Shared = cute::SM90::GMMA::MMA_64x112x16_F32BF16BF16_SS<kA, kB>;
};
template <Major kA, Major kB>
struct InstructionOf<128, kA, kB> {
  using Shared = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_SS<kA, kB>;
  using Registers = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_RS<Major::K, kB>;
};

__device__ inline cute::SM90::GMMA::ScaleOut AddIf(bool add) {
  return add ? cute::SM90::GMMA::ScaleOut::One : cute::SM90::GMMA::ScaleOut::Zero;
}

// sums = or += a b, for 64 rows of a, kN columns of b and 16 terms.
template <int kN, Major kA, Major kB>
__device__ void Multiply(uint64_t a, uint64_t b, bool add, float (&sums)[kN / 2]) {
  using Instruction = InstructionOf<kN, kA, kB>::Shared;
  [&]<size_t... i>(std::index_sequence<i...>) { Instruction::fma(a, b, sums[i]..., AddIf(add)); }
  (std::make_index_sequence<kN / 2>());
}

template <int kN, Major kB>
__device__ void Multiply(const uint32_t* a, uint64_t b, bool add, float (&sums)[kN / 2]) {
  using Instruction = InstructionOf<kN, Major::K, kB>::Registers;
  [&]<size_t... i>(std::index_sequence<i...>) {
    Instruction::fma(a[0], a[1], a[2], a[3], b, sums[i]..., AddIf(add));
  }
  (std::make_index_sequence<kN / 2>());
}

// Keeps the compiler from moving accesses of registers to where the tensor cores have them.
template <int kCount>
__device__ void Pin(float (&registers)[kCount]) {
#pragma unroll
  for (float& r : registers) cute::warpgroup_fence_operand(r);
}
template <int kCount>
__device__ void Pin(uint32_t (&registers)[kCount]) {
#pragma unroll
  for (uint32_t& r : registers) cute::warpgroup_fence_operand(r);
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_HOPPER_PRODUCTS_CUH_
