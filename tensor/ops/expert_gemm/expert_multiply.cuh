#ifndef HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_MULTIPLY_CUH_
#define HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_MULTIPLY_CUH_

// How expert_gemm_hopper.cu multiplies a tile out of its stages.

#include <cstdint>
#include <utility>

#include "cute/arch/mma_sm90_gmma.hpp"
#include "hetero/tensor/ops/expert_gemm/expert_tiles.cuh"

namespace hetero::internal::expert_gemm {

using cute::SM90::GMMA::Major;

// What wgmma reads: bits 0-13 the address, 16-29 the distance of panels along a major m or n, 32-45
// that of groups of 8 rows, all in units of 16 bytes; bits 62-63 the swizzle, 1 of 128 bytes and 2
// of 64.
template <Major kMajor>
__device__ inline uint64_t Descriptor(const __nv_bfloat16* from) {
  constexpr uint64_t kPanelBytes = kPanel * sizeof(__nv_bfloat16);
  constexpr uint64_t kRowBytes = (kMajor == Major::K ? kDepth : kSide) * sizeof(__nv_bfloat16);
  constexpr uint64_t kSwizzle = kMajor == Major::K ? 2 : 1;
  // Without the bits that tell the blocks of a cluster apart.
  const uint64_t address = __cvta_generic_to_shared(from) & 0x3ffff;
  return address >> 4 | kPanelBytes >> 4 << 16 | 8 * kRowBytes >> 4 << 32 | kSwizzle << 62;
}

// From one step of 16 of the depth to the next, in a descriptor: along the rows, or down by 16.
template <Major kMajor>
constexpr uint64_t kStep = (kMajor == Major::K ? 16 : 16 * kSide) * sizeof(__nv_bfloat16) >> 4;

template <Major kMajorA, Major kMajorB>
__device__ void Multiply(uint64_t a, uint64_t b, float (&sums)[kSums]) {
  using Instruction = cute::SM90::GMMA::MMA_64x192x16_F32BF16BF16_SS<kMajorA, kMajorB>;
  [&]<size_t... i>(std::index_sequence<i...>) { Instruction::fma(a, b, sums[i]...); }
  (std::make_index_sequence<kSums>());
}

// Keeps the compiler from moving accesses of the sums to where the tensor cores have them.
__device__ inline void Pin(float (&sums)[kPanelsOfGroup][kSums]) {
#pragma unroll
  for (auto& panel : sums) {
#pragma unroll
    for (float& sum : panel) cute::warpgroup_fence_operand(sum);
  }
}

// Zeros rows [begin, kDepth) of all panels of a stage, by all threads that multiply.
__device__ inline void ClearRows(Shared<Kind::kBackwardWeight>& shared, int stage, int begin) {
  const int vectors = (kDepth - begin) * (kSide / 8);  // of a panel
  for (int i = threadIdx.x; i < (kPanelsM + kPanelsN) * vectors; i += kMathThreads) {
    const int panel = i / vectors;
    __nv_bfloat16* const rows = panel < kPanelsM ? shared.a[stage] + panel * kPanel
                                                 : shared.b[stage] + (panel - kPanelsM) * kPanel;
    reinterpret_cast<uint4*>(rows + begin * kSide)[i % vectors] = {};
  }
  ptx::fence_proxy_async(ptx::space_shared);
  asm volatile("bar.sync 1, %0;" ::"n"(kMathThreads) : "memory");
}

// Adds a tile's products to the sums of the first kCount panels of the group.
template <Kind kKind, int kCount>
__device__ void MultiplyTile(Shared<kKind>& shared, int num_stages, int rows,
                             Position<Shared<kKind>::kStages>& position,
                             float (&sums)[kPanelsOfGroup][kSums]) {
  constexpr Major kMajorA = kKind == Kind::kBackwardWeight ? Major::MN : Major::K;
  constexpr Major kMajorB = kKind == Kind::kForward ? Major::K : Major::MN;
  const int group = threadIdx.x / kGroupThreads;
  int previous = 0;
  for (int i = 0; i < num_stages; ++i) {
    Wait(&shared.full[position.stage], position.parity);
    if constexpr (kKind == Kind::kBackwardWeight) {
      const int left = rows - i * kDepth;
      if (left < kDepth) ClearRows(shared, position.stage, left);
    }
    if constexpr (kCount > 0) {
      const uint64_t a = Descriptor<kMajorA>(shared.a[position.stage] + group * kPanel);
      const uint64_t b = Descriptor<kMajorB>(shared.b[position.stage]);
      constexpr uint64_t kNextPanel = kGroups * kPanel * sizeof(__nv_bfloat16) >> 4;
      Pin(sums);
      cute::warpgroup_arrive();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k) {
#pragma unroll
        for (int panel = 0; panel < kCount; ++panel) {
          Multiply<kMajorA, kMajorB>(a + panel * kNextPanel + k * kStep<kMajorA>,
                                     b + k * kStep<kMajorB>, sums[panel]);
        }
      }
      cute::warpgroup_commit_batch();
      Pin(sums);
      cute::warpgroup_wait<1>();
    }
    if (i > 0) Release(shared, previous);
    previous = position.stage;
    position.Advance();
  }
  if constexpr (kCount > 0) {
    cute::warpgroup_wait<0>();
    Pin(sums);
  }
  if (num_stages > 0) Release(shared, previous);
}

}  // namespace hetero::internal::expert_gemm

#endif  // HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_MULTIPLY_CUH_
