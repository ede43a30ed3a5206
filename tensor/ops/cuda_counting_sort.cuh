#ifndef HETERO_TENSOR_OPS_CUDA_COUNTING_SORT_CUH_
#define HETERO_TENSOR_OPS_CUDA_COUNTING_SORT_CUH_

// A stable counting sort without atomics. A chunk of items belongs to a block; each of its warps
// owns a run of consecutive items and counts them apart, so that the place of an item is the
// number of items before it, wherever it is computed. See counting_sort.h.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/ops/counting_sort.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/stream.h"

namespace hetero::cuda {

inline constexpr int kSortThreads = 256;
inline constexpr int kSortWarps = kSortThreads / kWarpSize;
inline constexpr int kItemsPerWarp = kSortChunk / kSortWarps;

namespace internal {

// Calls visit(item, bin, lanes of the same bin, whether the lane is the first of them) for 32 items
// of the warp after another; lanes without an item have bin -1.
template <typename Bin, typename Visit>
__device__ void ForEachItemOfWarp(Bin bin_of, int64_t num_items, Visit visit) {
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const int64_t begin = blockIdx.x * kSortChunk + warp * kItemsPerWarp;
  for (int i = 0; i < kItemsPerWarp; i += kWarpSize) {
    const int64_t item = begin + i + lane;
    const int bin = item < num_items ? bin_of(item) : -1;
    const unsigned same = __match_any_sync(0xffffffffu, bin);
    visit(item, bin, same, __ffs(static_cast<int>(same)) - 1 == lane);
    __syncwarp();
  }
}

// counts[warp][bin] of the block's chunk.
template <typename Bin>
__device__ void CountByWarp(Bin bin_of, int64_t num_items, int num_bins, int32_t* counts) {
  for (int i = threadIdx.x; i < kSortWarps * num_bins; i += kSortThreads) counts[i] = 0;
  __syncthreads();
  int32_t* const of_warp = counts + threadIdx.x / kWarpSize * num_bins;
  ForEachItemOfWarp(bin_of, num_items, [&](int64_t, int bin, unsigned same, bool first) {
    if (first && bin >= 0) of_warp[bin] += __popc(same);
  });
  __syncthreads();
}

template <typename Bin>
__global__ __launch_bounds__(kSortThreads) void CountChunksKernel(Bin bin_of, int64_t num_items,
                                                                  int num_bins,
                                                                  int32_t* counts_CB) {
  extern __shared__ int32_t counts[];
  CountByWarp(bin_of, num_items, num_bins, counts);
  for (int b = threadIdx.x; b < num_bins; b += kSortThreads) {
    int32_t sum = 0;
    for (int warp = 0; warp < kSortWarps; ++warp) sum += counts[warp * num_bins + b];
    counts_CB[int64_t{blockIdx.x} * num_bins + b] = sum;
  }
}

inline constexpr int kPlaceThreads = 512;

// Counts become the place of the first item of each chunk and bin; offsets[b], unless null, the
// place of the first item of bin b, for b up to num_bins. One block.
template <typename Int = int32_t>
__global__ __launch_bounds__(kPlaceThreads) void PlaceChunksKernel(int64_t num_chunks, int num_bins,
                                                                   Int* counts_CB, Int* offsets) {
  constexpr int kWarps = kPlaceThreads / kWarpSize;
  __shared__ Int of_warp[kWarps];
  const int lane = threadIdx.x % kWarpSize;
  const int warp = threadIdx.x / kWarpSize;
  Int before = 0;  // items of the bins before this round's
  for (int first = 0; first < num_bins; first += kPlaceThreads) {
    const int b = first + threadIdx.x;
    Int count = 0;
    if (b < num_bins) {
#pragma unroll 8
      for (int64_t c = 0; c < num_chunks; ++c) count += counts_CB[c * num_bins + b];
    }
    Int through = count;  // of the warp's bins up to this one
#pragma unroll
    for (int distance = 1; distance < kWarpSize; distance *= 2) {
      const Int other = __shfl_up_sync(0xffffffffu, through, distance);
      if (lane >= distance) through += other;
    }
    if (lane == kWarpSize - 1) of_warp[warp] = through;
    __syncthreads();
    Int place = before + through - count;
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) place += of_warp[w];
      before += of_warp[w];
    }
    if (b < num_bins) {
      if (offsets != nullptr) offsets[b] = place;
      for (int64_t c = 0; c < num_chunks; ++c) {
        const Int of_chunk = counts_CB[c * num_bins + b];
        counts_CB[c * num_bins + b] = place;
        place += of_chunk;
      }
    }
    __syncthreads();
  }
  if (offsets != nullptr && threadIdx.x == 0) offsets[num_bins] = before;
}

template <typename Bin, typename Put>
__global__ __launch_bounds__(kSortThreads) void PlaceItemsKernel(Bin bin_of, Put put,
                                                                 int64_t num_items, int num_bins,
                                                                 const int32_t* places_CB) {
  extern __shared__ int32_t places[];
  CountByWarp(bin_of, num_items, num_bins, places);
  for (int b = threadIdx.x; b < num_bins; b += kSortThreads) {
    int32_t place = places_CB[int64_t{blockIdx.x} * num_bins + b];
    for (int warp = 0; warp < kSortWarps; ++warp) {
      const int32_t count = places[warp * num_bins + b];
      places[warp * num_bins + b] = place;
      place += count;
    }
  }
  __syncthreads();
  int32_t* const of_warp = places + threadIdx.x / kWarpSize * num_bins;
  const unsigned lanes_before = (1u << threadIdx.x % kWarpSize) - 1;
  ForEachItemOfWarp(bin_of, num_items, [&](int64_t item, int bin, unsigned same, bool first) {
    if (bin >= 0) put(item, of_warp[bin] + __popc(same & lanes_before));
    __syncwarp();
    if (first && bin >= 0) of_warp[bin] += __popc(same);
  });
}

}  // namespace internal

// put(item, place) for every item in [0, num_items), places ascending by (bin_of(item), item), bins
// in [0, num_bins); an item of bin -1 has no place. `scratch` is counting_sort.h's. `offsets` is
// null or i32 [num_bins + 1]: the place of the first item of each bin.
// Errors: INTERNAL more bins than fit in shared memory, which has kSortWarps numbers for each.
template <typename Bin, typename Put>
absl::Status CountingSort(Bin bin_of, Put put, int64_t num_items, int num_bins, int32_t* scratch,
                          int32_t* offsets, hetero::Stream& stream) {
  const int64_t num_chunks = NumSortChunks(num_items);
  const LaunchShape shape = {
      .grid = static_cast<unsigned>(num_chunks),
      .block = kSortThreads,
      .shared_bytes = sizeof(int32_t) * kSortWarps * static_cast<size_t>(num_bins)};
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(internal::CountChunksKernel<Bin>, shape, stream, bin_of,
                                            num_items, num_bins, scratch));
  const LaunchShape one_block = {.grid = 1, .block = internal::kPlaceThreads};
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(internal::PlaceChunksKernel<int32_t>, one_block, stream,
                                            num_chunks, num_bins, scratch, offsets));
  return HETERO_CUDA_LAUNCH((internal::PlaceItemsKernel<Bin, Put>), shape, stream, bin_of, put,
                            num_items, num_bins, scratch);
}

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_CUDA_COUNTING_SORT_CUH_
