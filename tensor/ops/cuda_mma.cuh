#ifndef HETERO_TENSOR_OPS_CUDA_MMA_CUH_
#define HETERO_TENSOR_OPS_CUDA_MMA_CUH_

// Products of 16 x 16 by 16 x 8 matrices by a warp, from tiles in shared memory: in bf16 on tensor
// cores with f32 sums, in f32 by fused multiply-adds with shuffles, slower, for the correctness
// path. Both types spread a matrix over the lanes in the same way, that of the PTX instruction
// mma.m16n8k16, so that kernels have one source: with g = lane / 4 and t = lane % 4,
//
//   FragmentA   rows g, g + 8; columns 2t, 2t + 1, 2t + 8, 2t + 9
//   FragmentB   rows 2t, 2t + 1, 2t + 8, 2t + 9; column g
//   sums        [0], [1]: row g, columns 2t, 2t + 1; [2], [3]: row g + 8
//
// Two neighbouring blocks of sums are thus a FragmentA of the next product, without any exchange.
//
// Tiles are row-major with a padded row, TileStride: the eight rows that ldmatrix reads at once lie
// in different banks. Every function is called by the whole warp.

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::cuda {

// Elements between the rows of a tile with `columns` columns, a multiple of 16.
template <typename T>
constexpr int TileStride(int columns) {
  return columns + 16 / static_cast<int>(sizeof(T));
}

template <typename T>
struct FragmentA {  // [0], [1]: row g; [2], [3]: row g + 8; [4..7]: the columns eight further
  float of[8];
};
template <>
struct FragmentA<__nv_bfloat16> {
  __nv_bfloat162 of[4];
};

template <typename T>
struct FragmentB {
  float of[4];
};
template <>
struct FragmentB<__nv_bfloat16> {
  uint32_t of[2];
};

__device__ inline int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
// Of the first row and of the first column that a lane holds of sums.
__device__ inline int LaneRow() { return Lane() / 4; }
__device__ inline int LaneColumn() { return Lane() % 4 * 2; }

__device__ inline float2 LoadPair(const float* at) { return *reinterpret_cast<const float2*>(at); }
__device__ inline float2 LoadPair(const __nv_bfloat16* at) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(at));
}
__device__ inline void StorePair(float2 pair, float* at) { *reinterpret_cast<float2*>(at) = pair; }
__device__ inline void StorePair(float2 pair, __nv_bfloat16* at) {
  *reinterpret_cast<__nv_bfloat162*>(at) = __float22bfloat162_rn(pair);
}

namespace internal {

template <bool kTransposed>
__device__ inline void LoadMatrices(const __nv_bfloat16* at, uint32_t (&to)[4]) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  }
}

__device__ inline __nv_bfloat162 AsPair(uint32_t bits) {
  return *reinterpret_cast<__nv_bfloat162*>(&bits);
}
__device__ inline uint32_t AsBits(__nv_bfloat162 pair) {
  return *reinterpret_cast<uint32_t*>(&pair);
}

}  // namespace internal

// `at`: the 16 x 16 matrix's first element in a tile of its rows.
template <int kStride>
__device__ inline void LoadA(const __nv_bfloat16* at, FragmentA<__nv_bfloat16>& a) {
  const int lane = Lane();
  uint32_t bits[4];
  internal::LoadMatrices<false>(at + lane % 16 * kStride + lane / 16 * 8, bits);
#pragma unroll
  for (int i = 0; i < 4; ++i) a.of[i] = internal::AsPair(bits[i]);
}
template <int kStride>
__device__ inline void LoadA(const float* at, FragmentA<float>& a) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    a.of[i] = at[(LaneRow() + i / 2 % 2 * 8) * kStride + LaneColumn() + i / 4 * 8 + i % 2];
  }
}

// Of the transpose: `at` is the first element in a tile of the matrix's columns.
template <int kStride>
__device__ inline void LoadTransposedA(const __nv_bfloat16* at, FragmentA<__nv_bfloat16>& a) {
  const int lane = Lane();
  uint32_t bits[4];
  internal::LoadMatrices<true>(at + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8, bits);
#pragma unroll
  for (int i = 0; i < 4; ++i) a.of[i] = internal::AsPair(bits[i]);
}
template <int kStride>
__device__ inline void LoadTransposedA(const float* at, FragmentA<float>& a) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    a.of[i] = at[(LaneColumn() + i / 4 * 8 + i % 2) * kStride + LaneRow() + i / 2 % 2 * 8];
  }
}

// Two neighbours, 16 x 16 in all: `at` is the first element in a tile of the matrix's rows.
template <int kStride>
__device__ inline void LoadB(const __nv_bfloat16* at, FragmentB<__nv_bfloat16> (&b)[2]) {
  const int lane = Lane();
  uint32_t bits[4];
  internal::LoadMatrices<true>(at + (lane % 8 + lane / 8 % 2 * 8) * kStride + lane / 16 * 8, bits);
#pragma unroll
  for (int i = 0; i < 4; ++i) b[i / 2].of[i % 2] = bits[i];
}
template <int kStride>
__device__ inline void LoadB(const float* at, FragmentB<float> (&b)[2]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    b[i / 4].of[i % 4] =
        at[(LaneColumn() + i / 2 % 2 * 8 + i % 2) * kStride + LaneRow() + i / 4 * 8];
  }
}

// Of the transpose: `at` is the first element in a tile of the matrix's columns.
template <int kStride>
__device__ inline void LoadTransposedB(const __nv_bfloat16* at, FragmentB<__nv_bfloat16> (&b)[2]) {
  const int lane = Lane();
  uint32_t bits[4];
  internal::LoadMatrices<false>(at + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8, bits);
#pragma unroll
  for (int i = 0; i < 4; ++i) b[i / 2].of[i % 2] = bits[i];
}
template <int kStride>
__device__ inline void LoadTransposedB(const float* at, FragmentB<float> (&b)[2]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    b[i / 4].of[i % 4] =
        at[(LaneRow() + i / 4 * 8) * kStride + LaneColumn() + i / 2 % 2 * 8 + i % 2];
  }
}

// Two neighbouring blocks of sums, rounded once.
__device__ inline void ToFragment(const float (&sums)[2][4], FragmentA<__nv_bfloat16>& a) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    a.of[i] = __floats2bfloat162_rn(sums[i / 2][i % 2 * 2], sums[i / 2][i % 2 * 2 + 1]);
  }
}
__device__ inline void ToFragment(const float (&sums)[2][4], FragmentA<float>& a) {
#pragma unroll
  for (int i = 0; i < 8; ++i) a.of[i] = sums[i / 4][i % 4];
}

// Multiplies columns 2t, 2t + 1, 2t + 8, 2t + 9 by the factors, and rounds.
__device__ inline void ScaleColumns(const float (&factors)[4], FragmentA<__nv_bfloat16>& a) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(a.of[i]);
    a.of[i] = __floats2bfloat162_rn(pair.x * factors[i / 2 * 2], pair.y * factors[i / 2 * 2 + 1]);
  }
}
__device__ inline void ScaleColumns(const float (&factors)[4], FragmentA<float>& a) {
#pragma unroll
  for (int i = 0; i < 8; ++i) a.of[i] *= factors[i / 4 * 2 + i % 2];
}

// sums += a b.
__device__ inline void MultiplyAdd(const FragmentA<__nv_bfloat16>& a,
                                   const FragmentB<__nv_bfloat16>& b, float (&sums)[4]) {
  using internal::AsBits;
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(AsBits(a.of[0])), "r"(AsBits(a.of[1])), "r"(AsBits(a.of[2])), "r"(AsBits(a.of[3])),
        "r"(b.of[0]), "r"(b.of[1]));
}
__device__ inline void MultiplyAdd(const FragmentA<float>& a, const FragmentB<float>& b,
                                   float (&sums)[4]) {
  const int row_lanes = Lane() / 4 * 4;
  const int column_lanes = Lane() % 4 * 8;
  // Unrolled it would fill the instruction cache.
#pragma unroll 1
  for (int t = 0; t < 4; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float upper = __shfl_sync(0xffffffffu, a.of[i / 2 * 4 + i % 2], row_lanes + t);
      const float lower = __shfl_sync(0xffffffffu, a.of[i / 2 * 4 + i % 2 + 2], row_lanes + t);
      const float left = __shfl_sync(0xffffffffu, b.of[i], column_lanes + t);
      const float right = __shfl_sync(0xffffffffu, b.of[i], column_lanes + 4 + t);
      sums[0] = fmaf(upper, left, sums[0]);
      sums[1] = fmaf(upper, right, sums[1]);
      sums[2] = fmaf(lower, left, sums[2]);
      sums[3] = fmaf(lower, right, sums[3]);
    }
  }
}

// Over the four lanes that hold a row of sums; each gets the result.
__device__ inline float RowOfSumsSum(float value) { return WarpSum<4>(value); }

// Starts a copy of 16 bytes to shared memory, which runs while the threads work; zeros where
// `is_inside` is false, without reading.
__device__ inline void CopyVectorAsync(void* to, const void* from, bool is_inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from),
                 "r"(is_inside ? 16 : 0)
               : "memory");
}
// Ends a group of a thread's copies.
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all but the newest kPending groups of this thread are in place; others need a barrier too.
template <int kPending>
__device__ inline void AwaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// threadIdx.x as a value that only a register can hold: the assembler would read the special
// register again in a loop, and that read waits behind the loop's copies.
__device__ inline int ThreadIndex() {
  const int index = static_cast<int>(threadIdx.x);
  return __shfl_sync(0xffffffffu, index, index % kWarpSize);
}

// Fills a tile of kRows x kColumns from rows `stride` apart, with zeros from `rows` and `columns`
// on. `vectors`: `from` and its rows allow accesses of 16 bytes and `columns` is whole vectors;
// then it is a group of asynchronous copies still to be committed. All kThreads call it, with
// their ThreadIndex().
template <int kThreads, int kRows, int kColumns, typename T>
__device__ inline void FillTile(int thread, T* tile, const T* from, int64_t stride, int rows,
                                int columns, bool vectors) {
  constexpr int kTileStride = TileStride<T>(kColumns);
  // In a caller's loop the addresses are made again: kept, they would cost its products registers.
  asm volatile("" : "+r"(thread));
  if (vectors) {
    constexpr int kWidth = kFullWidth<T>;
    constexpr int kPerRow = kColumns / kWidth;
    constexpr int kRowsAtOnce = kThreads / kPerRow;
    static_assert(kThreads % kPerRow == 0 && kRows % kRowsAtOnce == 0,
                  "a thread copies one column of vectors");
    const int row = thread / kPerRow;
    const int column = thread % kPerRow * kWidth;
    const int valid_rows = column < columns ? rows : 0;
    const T* at = from + row * stride + column;
    T* const to = tile + row * kTileStride + column;
#pragma unroll
    for (int i = 0; i < kRows; i += kRowsAtOnce) {
      CopyVectorAsync(to + i * kTileStride, at, row + i < valid_rows);
      at += kRowsAtOnce * stride;
    }
  } else {
#pragma unroll 1
    for (int i = thread; i < kRows * kColumns; i += kThreads) {
      const int row = i / kColumns;
      const int column = i % kColumns;
      const bool is_inside = row < rows && column < columns;
      tile[row * kTileStride + column] =
          is_inside ? from[row * stride + column] : FromFloat<T>(0.0f);
    }
  }
}

// kCount values, a multiple of 4 and at most 4 a thread, of aligned rows.
template <int kThreads, int kCount>
__device__ inline void FillFloats(int thread, float* to, const float* from) {
  static_assert(kCount % 4 == 0 && kCount <= kThreads * 4);
  asm volatile("" : "+r"(thread));
  if (thread * 4 < kCount) CopyVectorAsync(to + thread * 4, from + thread * 4, true);
}

// Stores one row of neighbouring blocks of sums, row LaneRow() or with `half` 1 the one eight
// further, as far as columns are below `columns`. `vectors`: as for FillTile.
template <int kBlocks, typename T>
__device__ inline void StoreRow(const float (&sums)[kBlocks][4], int half, T* row, int columns,
                                bool vectors) {
  T* const at = row + LaneColumn();
  const int left = columns - LaneColumn();
  if (vectors) {
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      if (j * 8 < left) StorePair({sums[j][half * 2], sums[j][half * 2 + 1]}, at + j * 8);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kBlocks * 2; ++i) {
      const int column = i / 2 * 8 + i % 2;
      if (column < left) at[column] = FromFloat<T>(sums[i / 2][half * 2 + i % 2]);
    }
  }
}

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_CUDA_MMA_CUH_
