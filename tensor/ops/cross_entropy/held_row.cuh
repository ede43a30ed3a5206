#ifndef HETERO_TENSOR_OPS_CROSS_ENTROPY_HELD_ROW_CUH_
#define HETERO_TENSOR_OPS_CROSS_ENTROPY_HELD_ROW_CUH_

// A row of logits in the registers of a cluster of blocks, and what its blocks tell one another.

#include <cooperative_groups.h>

#include <cstdint>

#include "hetero/tensor/ops/cross_entropy/row_statistics.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_packed.cuh"

namespace hetero::internal {

inline constexpr int kMaxPieces = 8;  // the largest cluster that every device takes

// The vectors of a row that one thread of a cluster holds.
template <typename T, int kThreads, int kVectors>
struct HeldVectors {
  static constexpr int kWidth = cuda::kFullWidth<T>;
  static constexpr int kStep = kThreads * kWidth;
  using Packed = cuda::Vector<T, kWidth>;

  Packed packed[kVectors];
  int first;  // column of the first
  int columns;

  // What a row lacks is -inf.
  __device__ HeldVectors(const T* row, int64_t row_columns, int piece)
      : first((piece * kVectors * kThreads + static_cast<int>(threadIdx.x)) * kWidth),
        columns(static_cast<int>(row_columns)) {
    float values[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] = -INFINITY;
    const Packed nothing = cuda::FromFloats<T>(values);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      packed[v] = IsWhole(v) ? cuda::VectorAt<kWidth>(row + Column(v)) : nothing;
    }
    const int short_column = columns - columns % kWidth;
    const int short_vector = (short_column - first) / kStep;
    if (short_column == columns || short_column < first || Column(short_vector) != short_column) {
      return;
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (short_column + i < columns) values[i] = cuda::ToFloat(row[short_column + i]);
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (v == short_vector) packed[v] = cuda::FromFloats<T>(values);
    }
  }

  __device__ int Column(int v) const { return first + v * kStep; }
  __device__ bool IsWhole(int v) const { return Column(v) + kWidth <= columns; }

  __device__ RowStatistics Statistics() const {
    RowStatistics result = {Maximum(), 0};
    const float shift = ShiftOf(result.maximum);
    float even = 0, odd = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      float x[kWidth];
      cuda::ToFloats(packed[v], x);
#pragma unroll
      for (int i = 0; i < kWidth; i += 2) {
        even += Exponential(x[i], shift);
        odd += Exponential(x[i + 1], shift);
      }
    }
    result.sum = even + odd;
    return result;
  }

  // The compiler would otherwise keep what it has unpacked for the next pass,
  // in twice the registers.
  __device__ void StayPacked() {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        asm volatile("" : "+r"(reinterpret_cast<uint32_t*>(&packed[v])[i]));
    }
  }

  __device__ float Maximum() const {
    if constexpr (kWidth == 4) {
      float maximum = -INFINITY;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
#pragma unroll
        for (int i = 0; i < 4; ++i) maximum = fmaxf(maximum, packed[v].values[i]);
      }
      return maximum;
    } else {
      const auto pair = [&](int v, int i) {
        return reinterpret_cast<const __nv_bfloat162*>(&packed[v])[i];
      };
      __nv_bfloat162 maximum = pair(0, 0);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
#pragma unroll
        for (int i = 0; i < 4; ++i) maximum = __hmax2(maximum, pair(v, i));
      }
      // NaN where the thread holds nothing else: no maximum.
      return fmaxf(fmaxf(__low2float(maximum), __high2float(maximum)), -INFINITY);
    }
  }

  // The lowest column that holds the value.
  __device__ int32_t FirstEqual(float value) const {
    int32_t result = kNoColumn;
#pragma unroll
    for (int v = kVectors - 1; v >= 0; --v) {
      float x[kWidth];
      cuda::ToFloats(packed[v], x);
#pragma unroll
      for (int i = kWidth - 1; i >= 0; --i) result = x[i] == value ? Column(v) + i : result;
    }
    return result;
  }

  // Writes w (exp(x - M) / Σ - [v = target]).
  __device__ void StoreGradient(T* row, const RowStatistics& of_row, float weight,
                                int target) const {
    const float shift = ShiftOf(of_row.maximum);
    const float factor = weight / of_row.sum;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = Column(v);
      if (column >= columns) break;
      float x[kWidth];
      cuda::ToFloats(packed[v], x);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) x[i] = Exponential(x[i], shift) * factor;
      if (static_cast<unsigned>(target - column) < kWidth) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) x[i] -= column + i == target ? weight : 0.0f;
      }
      if (IsWhole(v)) {
        cuda::StoreFloats(x, row + column);
      } else {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          if (column + i < columns) row[column + i] = cuda::FromFloat<T>(x[i]);
        }
      }
    }
  }
};

// Results of the pieces of a row, which every block of the cluster gets.
template <typename Value, int kThreads>
struct Exchange {
  Value of_warp[kThreads / cuda::kWarpSize];
  Value of_piece[kMaxPieces];

  // `reduce` takes a value of each lane of a warp to that of the warp. All
  // threads call it, once, when all blocks of the cluster have started.
  template <typename Reduce>
  __device__ Value operator()(Value mine, int piece, int pieces, Value identity, Reduce reduce) {
    namespace cg = cooperative_groups;
    const int warp = threadIdx.x / cuda::kWarpSize;
    const int lane = threadIdx.x % cuda::kWarpSize;
    mine = reduce(mine);
    if (lane == 0) of_warp[warp] = mine;
    __syncthreads();
    if (warp == 0) {
      mine = reduce(lane < kThreads / cuda::kWarpSize ? of_warp[lane] : identity);
      if (lane < pieces) *cg::this_cluster().map_shared_rank(of_piece + piece, lane) = mine;
    }
    cg::this_cluster().sync();
    return reduce(lane < pieces ? of_piece[lane] : identity);
  }
};

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_CROSS_ENTROPY_HELD_ROW_CUH_
