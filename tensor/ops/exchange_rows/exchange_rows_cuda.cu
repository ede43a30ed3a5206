#include <cstdint>

#include "hetero/tensor/ops/cuda_counting_sort.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/exchange_rows/exchange_rows.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;

struct Spread {
  int of_rank, copies;

  __device__ int32_t operator()(int32_t expert, int copy) const {
    return (expert / of_rank * copies + copy) * of_rank + expert % of_rank;
  }
};

// The choices, and behind them the counts.
__global__ __launch_bounds__(kThreads) void SpreadChoicesKernel(
    const int32_t* experts, int64_t num_choices, const int32_t* counts, int num_experts,
    Spread spread, int32_t* numbers, int32_t* spread_counts) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < num_choices) {
    for (int p = 0; p < spread.copies; ++p) {
      numbers[i * spread.copies + p] = experts[i] < 0 ? -1 : spread(experts[i], p);
    }
    return;
  }
  const int64_t e = i - num_choices;
  if (e >= num_experts) return;
  for (int p = 0; p < spread.copies; ++p) {
    spread_counts[spread(static_cast<int32_t>(e), p)] = counts[e];
  }
}

// What sources send to experts: chunk c is source c / L, expert c % L.
struct Chunks {
  const int32_t* counts_GL;
  int64_t stride;
  int num_chunks, num_experts;
  int64_t first, num_rows;

  __device__ int32_t Count(int c) const {
    return counts_GL[c / num_experts * stride + c % num_experts];
  }
  // A row of all that arrive, clipped to those of this call.
  __device__ int32_t Clip(int64_t row) const {
    return static_cast<int32_t>(max(int64_t{0}, min(row - first, num_rows)));
  }
};

__global__ __launch_bounds__(kThreads) void CopyCountsKernel(Chunks chunks, int32_t* counts) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c < chunks.num_chunks) counts[c] = chunks.Count(c);
}

__global__ __launch_bounds__(kThreads) void ClipChunksKernel(Chunks chunks, const int32_t* begins,
                                                             int32_t* clipped) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= chunks.num_chunks) return;
  clipped[c] = chunks.Clip(int64_t{begins[c]} + chunks.Count(c)) - chunks.Clip(begins[c]);
}

// A block a chunk: `places` says where its first row is among the sorted.
__global__ __launch_bounds__(kThreads) void PlaceRowsKernel(Chunks chunks, const int32_t* begins,
                                                            const int32_t* places,
                                                            int32_t* received, int32_t* sorted) {
  const int c = blockIdx.x;
  const int32_t begin = chunks.Clip(begins[c]);
  const int32_t end = chunks.Clip(int64_t{begins[c]} + chunks.Count(c));
  for (int32_t row = begin + threadIdx.x; row < end; row += kThreads) {
    const int32_t place = places[c] + row - begin;
    received[place] = row;
    sorted[row] = place;
  }
}

}  // namespace

absl::Status SpreadChoicesCuda(const SpreadChoicesArgs& args, Stream& stream) {
  const int64_t num_choices = args.experts_TK.num_elements();
  const int num_experts = static_cast<int>(args.counts_E.dim(0));
  const Spread spread = {.of_rank = static_cast<int>(args.experts_of_rank),
                         .copies = static_cast<int>(args.counts_EP.dim(0) / num_experts)};
  const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(num_choices + num_experts, kThreads),
                                   .block = kThreads};
  return HETERO_CUDA_LAUNCH(SpreadChoicesKernel, shape, stream, args.experts_TK.data<int32_t>(),
                            num_choices, args.counts_E.data<int32_t>(), num_experts, spread,
                            args.numbers_TKP.data<int32_t>(), args.counts_EP.data<int32_t>());
}

absl::Status SortReceivedRowsCuda(const SortReceivedRowsArgs& args, Stream& stream) {
  const int num_sources = static_cast<int>(args.counts_GL.dim(0));
  const int num_experts = static_cast<int>(args.counts_GL.dim(1));
  const Chunks chunks = {.counts_GL = args.counts_GL.data<int32_t>(),
                         .stride = args.counts_GL.stride(0),
                         .num_chunks = num_sources * num_experts,
                         .num_experts = num_experts,
                         .first = args.first,
                         .num_rows = args.received_R.dim(0)};
  int32_t* const begins = args.scratch_2GL.data<int32_t>();
  int32_t* const places = begins + chunks.num_chunks;
  const cuda::LaunchShape of_chunks = {.grid = cuda::NumBlocks(chunks.num_chunks, kThreads),
                                       .block = kThreads};
  const cuda::LaunchShape one_block = {.grid = 1, .block = cuda::internal::kPlaceThreads};
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(CopyCountsKernel, of_chunks, stream, chunks, begins));
  // As bins of one chunk each, counts become begins in the order of arrival;
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(cuda::internal::PlaceChunksKernel<int32_t>, one_block,
                                            stream, int64_t{1}, chunks.num_chunks, begins,
                                            static_cast<int32_t*>(nullptr)));
  HETERO_RETURN_IF_ERROR(
      HETERO_CUDA_LAUNCH(ClipChunksKernel, of_chunks, stream, chunks, begins, places));
  // with sources as chunks of an expert's bin, begins in the order of experts.
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(cuda::internal::PlaceChunksKernel<int32_t>, one_block,
                                            stream, int64_t{num_sources}, num_experts, places,
                                            args.offsets_L1.data<int32_t>()));
  const cuda::LaunchShape rows = {.grid = static_cast<unsigned>(chunks.num_chunks),
                                  .block = kThreads};
  return HETERO_CUDA_LAUNCH(PlaceRowsKernel, rows, stream, chunks, begins, places,
                            args.received_R.data<int32_t>(), args.sorted_R.data<int32_t>());
}

}  // namespace hetero::internal
