#include <algorithm>
#include <cstdint>
#include <utility>

#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/counting_sort.h"
#include "hetero/tensor/ops/cuda_counting_sort.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_move_rows.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/embedding/embedding.h"

namespace hetero::internal {
namespace {

using cuda::Rows;

constexpr int kThreads = 128;
constexpr int64_t kChunk = EmbeddingBackwardScratch::kChunk;

// The table row of an id, `num_rows` where it is not held here.
struct RowOfId {
  const int32_t* ids;
  int64_t first_row;
  int64_t num_rows;
  __device__ int32_t operator()(int64_t n) const {
    const int64_t row = ids[n] - first_row;
    return static_cast<int32_t>(row >= 0 && row < num_rows ? row : num_rows);
  }
};
struct SortedRow {
  const int32_t* rows;
  __device__ int32_t operator()(int64_t n) const { return rows[n]; }
};

template <typename Row>
struct Digit {
  Row row;
  int shift;
  int32_t mask;
  __device__ int operator()(int64_t n) const { return row(n) >> shift & mask; }
};

template <typename Row>
struct PutRow {
  Row row;
  const int32_t* order;  // null: the items in order
  int32_t* sorted_rows;
  int32_t* sorted_order;
  __device__ void operator()(int64_t n, int32_t place) const {
    sorted_rows[place] = row(n);
    sorted_order[place] = order == nullptr ? static_cast<int32_t>(n) : order[n];
  }
};

// Entries sorted by (table row, n).
struct Entries {
  int64_t count;
  int32_t num_rows;  // of the table held here
  const int32_t* row;
  const int32_t* n;
  const int32_t* positions;  // null: n

  __device__ bool Continues(int64_t i) const { return i + 1 < count && row[i + 1] == row[i]; }
};

template <int kWidth>
__device__ void AddTo(const float (&x)[kWidth], float* to) {
  float sum[kWidth];
  cuda::Load(to, sum);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] += x[i];
  cuda::Store(sum, to);
}

// A block sums kChunk entries, a thread a vector of columns. Runs of one table row that lie inside
// the chunk are added to it; of a run that lies in several, each chunk leaves its part: the one
// that came from the chunk before in line 0 of `parts`, the one that goes on in line 1.
template <typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void SumChunksKernel(Entries entries, Rows<const T> d_out,
                                                            int64_t columns, Rows<float> dweight,
                                                            float* parts_C2H) {
  const int64_t h = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kWidth;
  if (h >= columns) return;
  const int64_t begin = blockIdx.x * kChunk;
  const int64_t end = min(begin + kChunk, entries.count);
  float* const parts = parts_C2H + blockIdx.x * 2 * columns + h;
  bool from_before = begin > 0 && entries.Continues(begin - 1);
  float sum[kWidth] = {};
#pragma unroll 4
  for (int64_t i = begin; i < end; ++i) {
    const int32_t row = entries.row[i];
    if (row == entries.num_rows) break;  // they are the last
    const int32_t n = entries.n[i];
    float x[kWidth];
    cuda::Load(d_out[entries.positions == nullptr ? n : entries.positions[n]] + h, x);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += x[j];
    const bool goes_on = entries.Continues(i);
    if (goes_on && i + 1 < end) continue;
    if (from_before) {
      cuda::Store(sum, parts);
    } else if (goes_on) {
      cuda::Store(sum, parts + columns);
    } else {
      AddTo(sum, dweight[row] + h);
    }
    from_before = false;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] = 0;
  }
}

// The chunk where a run of several chunks starts adds up the parts of it.
template <int kWidth>
__global__ __launch_bounds__(kThreads) void SumRunsKernel(Entries entries, int64_t columns,
                                                          Rows<float> dweight,
                                                          const float* parts_C2H) {
  const int64_t h = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kWidth;
  const int64_t begin = blockIdx.x * kChunk;
  const int64_t last = begin + kChunk - 1;
  if (h >= columns || last >= entries.count || !entries.Continues(last)) return;
  const int32_t row = entries.row[last];
  const bool from_before = begin > 0 && entries.row[begin - 1] == row;
  if (row == entries.num_rows || from_before) return;
  const auto part = [&](int64_t chunk, int line) {
    return parts_C2H + (chunk * 2 + line) * columns + h;
  };
  float sum[kWidth];
  cuda::Load(part(blockIdx.x, 1), sum);
  for (int64_t c = blockIdx.x + 1; c * kChunk < entries.count && entries.row[c * kChunk] == row;
       ++c) {
    float x[kWidth];
    cuda::Load(part(c, 0), x);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += x[j];
  }
  AddTo(sum, dweight[row] + h);
}

}  // namespace

absl::Status EmbeddingForwardCuda(const EmbeddingForwardArgs& args, Stream& stream) {
  return cuda::MoveRows({.count = args.ids_N.dim(0),
                         .from = args.ids_N.data<int32_t>(),
                         .first_row = args.first_row,
                         .to = cuda::DataOrNull<int32_t>(args.positions_N)},
                        args.weight_VH, args.out_TH, stream);
}

absl::Status EmbeddingBackwardCuda(const EmbeddingBackwardArgs& args,
                                   const EmbeddingBackwardScratch& scratch, Stream& stream) {
  const int64_t columns = args.dweight_VH.dim(1);
  const int64_t num_rows = args.dweight_VH.dim(0);
  const int64_t count = args.ids_N.dim(0);
  if (!args.accumulate && args.dweight_VH.num_elements() > 0) {
    HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
    HETERO_RETURN_IF_CUDA_ERROR(cudaMemset2DAsync(
        args.dweight_VH.address(), args.dweight_VH.stride(0) * sizeof(float), 0,
        columns * sizeof(float), num_rows, static_cast<cudaStream_t>(stream.handle())));
  }

  const RadixPlan plan(num_rows + 1);
  int32_t* rows[2] = {scratch.rows_2N.At(0).data<int32_t>(), scratch.rows_2N.At(1).data<int32_t>()};
  int32_t* order[2] = {scratch.order_2N.At(0).data<int32_t>(),
                       scratch.order_2N.At(1).data<int32_t>()};
  for (int pass = 0; pass < plan.num_passes; ++pass) {
    const auto sort = [&](auto row, const int32_t* items) {
      return cuda::CountingSort(Digit<decltype(row)>{row, pass * plan.digit_bits,
                                                     static_cast<int32_t>(plan.num_bins() - 1)},
                                PutRow<decltype(row)>{row, items, rows[1], order[1]}, count,
                                static_cast<int>(plan.num_bins()), scratch.counts.data<int32_t>(),
                                nullptr, stream);
    };
    HETERO_RETURN_IF_ERROR(
        pass == 0 ? sort(RowOfId{args.ids_N.data<int32_t>(), args.first_row, num_rows}, nullptr)
                  : sort(SortedRow{rows[0]}, order[0]));
    std::swap(rows[0], rows[1]);
    std::swap(order[0], order[1]);
  }

  const Entries entries{.count = count,
                        .num_rows = static_cast<int32_t>(num_rows),
                        .row = rows[0],
                        .n = order[0],
                        .positions = cuda::DataOrNull<int32_t>(args.positions_N)};
  const Rows<float> dweight = cuda::RowsOf<float>(args.dweight_VH);
  float* const parts = scratch.parts_C2H.data<float>();
  return cuda::VisitFloat(args.d_out_TH.dtype(), [&]<typename T>() {
    return cuda::VisitWidth<T>(
        columns, {args.d_out_TH, args.dweight_VH}, [&]<int kWidth>() -> absl::Status {
          const cuda::LaunchShape shape = {
              .grid = {cuda::NumBlocks(count, kChunk), cuda::NumBlocks(columns, kThreads * kWidth)},
              .block = kThreads};
          HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH((SumChunksKernel<T, kWidth>), shape, stream,
                                                    entries, cuda::RowsOf<T>(args.d_out_TH),
                                                    columns, dweight, parts));
          return HETERO_CUDA_LAUNCH(SumRunsKernel<kWidth>, shape, stream, entries, columns, dweight,
                                    parts);
        });
  });
}

absl::Status GatherRowsCuda(const ConstTensorView& in_TH, const ConstTensorView& positions_N,
                            const TensorView& out_NH, Stream& stream) {
  return cuda::MoveRows({.count = positions_N.dim(0), .from = positions_N.data<int32_t>()}, in_TH,
                        out_NH, stream);
}

absl::Status ScatterRowsCuda(const ConstTensorView& in_NH, const ConstTensorView& positions_N,
                             const TensorView& out_TH, Stream& stream) {
  return cuda::MoveRows({.count = positions_N.dim(0), .to = positions_N.data<int32_t>()}, in_NH,
                        out_TH, stream);
}

}  // namespace hetero::internal
