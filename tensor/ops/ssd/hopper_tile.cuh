#ifndef HETERO_TENSOR_OPS_SSD_HOPPER_TILE_CUH_
#define HETERO_TENSOR_OPS_SSD_HOPPER_TILE_CUH_

// What the kernels of ssd_hopper.h share: tiles, how they come to shared memory, and where a thread
// of a group of four warps finds elements of them.

#include <cuda.h>

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/expert_gemm/tensor_maps.cuh"
#include "hetero/tensor/ops/hopper/products.cuh"
#include "hetero/tensor/ops/hopper/rows.cuh"
#include "hetero/tensor/ops/ssd/ssd_tiles.cuh"

namespace hetero::internal {

using HopperTile = SsdTileType<false>;
using HopperProblem = SsdCudaProblem<__nv_bfloat16>;

inline constexpr int kChunk = HopperTile::kChunk;
inline constexpr int kHeadDim = HopperTile::kHeadDim;
inline constexpr int kStateSize = HopperTile::kStateSize;

// Token-major rows of a head, rows of B or C of a group, and a state.
using HeadRows = Panels<kChunk, kHeadDim>;
using GroupRows = Panels<kChunk, kStateSize>;
using StateRows = Panels<kHeadDim, kStateSize>;
static_assert(HeadRows::kCount == 1 && 2 * HeadRows::kSize == GroupRows::kSize &&
              HeadRows::kSize == StateRows::kSize);

inline constexpr int kGroupThreads = 4 * cuda::kWarpSize;
// A group of four warps for each 64 tokens of a chunk.
inline constexpr int kTokenGroups = kChunk / 64;
inline constexpr int kTokenThreads = kTokenGroups * kGroupThreads;
// And a group of which one thread loads.
inline constexpr int kBlockThreads = kTokenThreads + kGroupThreads;

// A block's threads together have as many registers as at its launch, 168 each.
__device__ inline void TakeLoadersRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
}
__device__ inline void TakeMathRegisters() { asm volatile("setmaxnreg.inc.sync.aligned.u32 240;"); }
// Of all groups that multiply.
__device__ inline void SyncMathThreads() {
  asm volatile("bar.sync 1, %0;" ::"n"(kTokenThreads) : "memory");
}

// Of a token-major matrix as panels of 64 columns; copies take a chunk's rows of `panels` of them,
// zeros behind the last token of a row of the batch.
inline absl::Status MakeTokenMap(const TensorMaps& maps, const ConstTensorView& view,
                                 const SequenceBatch& sequences, int panels, CUtensorMap& map) {
  constexpr int64_t kPanelBytes = HeadRows::kRowBytes;
  const int64_t row_bytes = view.stride(0) * SizeOf(view.dtype());
  return maps.MakeStrided<4>(
      view,
      {HeadRows::kWidth, sequences.row_length, view.dim(1) / HeadRows::kWidth, sequences.num_rows},
      {row_bytes, kPanelBytes, sequences.row_length * row_bytes},
      {HeadRows::kWidth, kChunk, static_cast<uint32_t>(panels), 1}, map);
}

// Of dense matrices with 128 columns, one after the other; copies take `rows` rows and `panels`.
inline absl::Status MakeMatrixMap(const TensorMaps& maps, const ConstTensorView& view, int rows,
                                  int panels, CUtensorMap& map) {
  constexpr int kColumns = 2 * HeadRows::kWidth;
  static_assert(kColumns == kStateSize && kColumns == kChunk);
  return maps.MakeStrided<3>(
      view, {HeadRows::kWidth, view.num_elements() / kColumns, 2},
      {kColumns * SizeOf(view.dtype()), HeadRows::kRowBytes},
      {HeadRows::kWidth, static_cast<uint32_t>(rows), static_cast<uint32_t>(panels)}, map);
}

// Barriers of a ring of stages. Every math thread arrives for itself when it has read.
template <int kStages>
struct RingBarriers {
  uint64_t full[kStages], empty[kStages];

  __device__ void Init(int num_readers) {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(&full[i], 1);
      ptx::mbarrier_init(&empty[i], num_readers);
    }
    ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
  }
  __device__ uint64_t* Expect(const RingPlace<kStages>& place, uint32_t bytes) {
    uint64_t* const barrier = &full[place.stage];
    internal::Expect(barrier, &empty[place.stage], place.parity, bytes);
    return barrier;
  }
  __device__ void Await(const RingPlace<kStages>& place) { Wait(&full[place.stage], place.parity); }
  __device__ void Release(RingPlace<kStages>& place) {
    Arrive(&empty[place.stage]);
    place.Advance();
  }
};

// Where the calling thread of a group stands in a product's 64 rows.
struct GroupPlace {
  int lane = static_cast<int>(threadIdx.x) % cuda::kWarpSize;
  int warp = static_cast<int>(threadIdx.x) / cuda::kWarpSize;  // over all groups, 16 rows each
  int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  int row = warp * kRowsOfWarp + lane / 4;  // and the one eight further
  int column = lane % 4 * 2;                // and the next, in every eight
};

// The initializer {} of so large an array would be a loop over its addresses, and it no registers.
template <int kCount>
__device__ void Clear(float (&sums)[kCount]) {
#pragma unroll
  for (float& sum : sums) sum = 0;
}

// The 16 bytes of a row of a panel of 64 columns that hold column 8 piece.
__device__ inline const __nv_bfloat16* PieceOf(const __nv_bfloat16* panel, int row, int piece) {
  return panel + row * HeadRows::kWidth + (piece ^ row % 8) * 8;
}

// Elements of a thread's place in a panel: `row`, columns 8 piece + GroupPlace::column.
__device__ inline float2 PairOf(const __nv_bfloat16* panel, int row, int piece) {
  return cuda::LoadPair(PieceOf(panel, row, piece) + threadIdx.x % 4 * 2);
}

// Operands in registers: a warp's 16 rows of a panel and its i-th 16 columns.
__device__ inline void LoadRows(const __nv_bfloat16* panel, const GroupPlace& place, int i,
                                uint32_t (&a)[4]) {
  const int row = place.warp * kRowsOfWarp + place.lane % 16;
  cuda::internal::LoadMatrices<false>(PieceOf(panel, row, 2 * i + place.lane / 16), a);
}
// Of the transpose: 16 columns of the group's warp, and the i-th 16 rows.
__device__ inline void LoadColumns(const __nv_bfloat16* panel, const GroupPlace& place, int i,
                                   uint32_t (&a)[4]) {
  const int row = i * 16 + place.lane % 8 + place.lane / 16 * 8;
  cuda::internal::LoadMatrices<true>(PieceOf(panel, row, place.warp % 4 * 2 + place.lane / 8 % 2),
                                     a);
}

__device__ inline uint32_t Scale(uint32_t pair, float low, float high) {
  const float2 values = __bfloat1622float2(cuda::internal::AsPair(pair));
  return Pack(values.x * low, values.y * high);
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_HOPPER_TILE_CUH_
