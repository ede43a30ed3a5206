#ifndef HETERO_TENSOR_OPS_HOPPER_ROWS_CUH_
#define HETERO_TENSOR_OPS_HOPPER_ROWS_CUH_

// Sums of the tensor cores as rows of bf16.

#include <cstdint>

#include "hetero/tensor/ops/hopper/memory.cuh"

namespace hetero::internal {

inline constexpr int kRowsOfWarp = 16;
inline constexpr int kStagedColumns = 64;
inline constexpr int kStagedBytes = kRowsOfWarp * kStagedColumns * sizeof(__nv_bfloat16);

// Stores scale * sums, a warp's 16 rows of a product of groups, but those from num_rows on. Runs of
// 64 columns turn in `staging`, kStagedBytes, into stores of 16 bytes.
template <int kSums>
__device__ void StoreRows(const float (&sums)[kSums], float scale, unsigned char* staging,
                          __nv_bfloat16* to, int64_t stride, int num_rows) {
  constexpr int kColumns = 2 * kSums;
  constexpr int kPieces = kStagedColumns / 8;  // of 16 bytes
  const int lane = threadIdx.x % cuda::kWarpSize;
  const auto place = [&](int row, int piece) {
    return staging + row * (kStagedColumns * 2) + (piece ^ row % kPieces) * 16;
  };
  // Lane l gives the address of row l % 8 of matrix l / 8: rows 0-7 and 8-15 of 8 columns, then of
  // the next 8.
  const int row_of_lane = lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
  for (int begin = 0; begin < kColumns; begin += kStagedColumns) {
    const int columns = kColumns - begin < kStagedColumns ? kColumns - begin : kStagedColumns;
#pragma unroll
    for (int i = 0; i < columns / 16; ++i) {
      const float* const s = sums + begin / 2 + i * 8;
      StoreMatrices(SharedAddress(place(row_of_lane, 2 * i + lane / 16)),
                    {Pack(s[0] * scale, s[1] * scale), Pack(s[2] * scale, s[3] * scale),
                     Pack(s[4] * scale, s[5] * scale), Pack(s[6] * scale, s[7] * scale)});
    }
    __syncwarp();
    const int pieces = columns / 8;
#pragma unroll
    for (int i = lane; i < kRowsOfWarp * pieces; i += cuda::kWarpSize) {
      const int row = i / pieces, piece = i % pieces;
      if (row < num_rows) {
        *reinterpret_cast<uint4*>(to + row * stride + begin + piece * 8) =
            *reinterpret_cast<const uint4*>(place(row, piece));
      }
    }
    __syncwarp();
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_HOPPER_ROWS_CUH_
