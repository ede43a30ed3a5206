// Cross entropy where one rank holds all columns. Floor: forward reads the
// logits once; with a gradient they are written once too. A row that fits is
// held in the registers of a cluster of up to eight blocks between its
// statistics and its gradient; others are read once more for each.

#include <cooperative_groups.h>

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy_rows.cuh"
#include "hetero/tensor/ops/cross_entropy/held_row.cuh"
#include "hetero/tensor/ops/cross_entropy/row_statistics.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {
namespace {

using cuda::kFullWidth;

template <typename T>
struct Operands {
  Logits<T> logits;
  int pieces;  // blocks a row
  const int32_t* targets;
  const float* weights;  // null: no gradient
  float* loss;
  int32_t* argmax;  // null: not wanted
};

template <typename T, int kThreads, int kVectors>
__global__ __launch_bounds__(kThreads, 1024 / kThreads) void HeldRowKernel(Operands<T> op) {
  __shared__ Exchange<RowStatistics, kThreads> statistics;
  __shared__ Exchange<int32_t, kThreads> first_column;
  const auto cluster = cooperative_groups::this_cluster();
  auto started = cluster.barrier_arrive();
  const int64_t t = blockIdx.x / op.pieces;
  const int piece = static_cast<int>(blockIdx.x - t * op.pieces);
  T* const row = op.logits.rows[t];
  HeldVectors<T, kThreads, kVectors> held(row, op.logits.columns, piece);
  int64_t target;
  const bool is_held = op.logits.Holds(op.targets[t], &target);
  const bool writes = piece == 0 && threadIdx.x == 0;
  const float target_logit = writes && is_held ? cuda::ToFloat(row[target]) : 0.0f;

  const RowStatistics mine = held.Statistics();
  cluster.barrier_wait(std::move(started));
  const RowStatistics of_row =
      statistics(mine, piece, op.pieces, RowStatistics::Empty(), WarpStatistics);
  if (writes) op.loss[t] = LossOf(of_row, is_held, target_logit);
  held.StayPacked();
  if (op.argmax != nullptr) {
    const int32_t first =
        mine.maximum == of_row.maximum ? held.FirstEqual(of_row.maximum) : kNoColumn;
    const int32_t argmax = first_column(first, piece, op.pieces, kNoColumn, WarpFirst);
    if (writes) op.argmax[t] = argmax;
    held.StayPacked();
  }
  if (op.weights == nullptr) return;
  held.StoreGradient(row, of_row, op.weights[t],
                     is_held ? static_cast<int>(target) : -kFullWidth<T>);
}

// A block a row of any length. A thread scales its sum again when it meets a
// larger logit.
template <typename T, int kWidth, int kThreads>
__global__ __launch_bounds__(kThreads) void StreamedRowKernel(Operands<T> op) {
  const int64_t t = blockIdx.x;
  const Logits<T>& logits = op.logits;
  int64_t target;
  const bool held = logits.Holds(op.targets[t], &target);
  const float target_logit = held ? cuda::ToFloat(logits.rows[t][target]) : 0.0f;
  RowStatistics mine = RowStatistics::Empty();
  logits.template ForEach<kWidth, kThreads, false>(t, [&](int64_t, float(&x)[kWidth]) {
    RowStatistics next = mine;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) next.maximum = fmaxf(next.maximum, x[i]);
    if (next.maximum > mine.maximum) next.sum = mine.SumBelow(next.maximum);
    const float shift = ShiftOf(next.maximum);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) next.sum += Exponential(x[i], shift);
    mine = next;
  });
  RowStatistics of_row = {cuda::BlockMaximum<kThreads>(mine.maximum), 0};
  of_row.sum = cuda::BlockSum<kThreads>(mine.SumBelow(of_row.maximum));
  if (threadIdx.x == 0) op.loss[t] = LossOf(of_row, held, target_logit);
  if (op.argmax != nullptr) {
    int32_t first = kNoColumn;
    if (mine.maximum == of_row.maximum) {
      logits.template ForEach<kWidth, kThreads, false>(t, [&](int64_t column, float(&x)[kWidth]) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          if (x[i] == of_row.maximum) first = min(first, static_cast<int32_t>(column + i));
        }
      });
    }
    first = BlockFirst<kThreads>(first);
    if (threadIdx.x == 0) op.argmax[t] = first;
  }
  if (op.weights == nullptr) return;
  const float weight = op.weights[t];
  const float factor = weight / of_row.sum;
  const float shift = ShiftOf(of_row.maximum);
  logits.template ForEach<kWidth, kThreads, true>(t, [&](int64_t column, float(&x)[kWidth]) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      x[i] = Exponential(x[i], shift) * factor - (held && column + i == target ? weight : 0.0f);
    }
  });
}

template <typename T, int kThreads, int kVectors>
absl::Status LaunchHeld(const Operands<T>& operands, int64_t num_rows, Stream& stream) {
  if (num_rows == 0) return absl::OkStatus();
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(operands.pieces), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = {static_cast<unsigned>(num_rows * operands.pieces)};
  config.blockDim = {kThreads};
  config.stream = static_cast<cudaStream_t>(stream.handle());
  config.attrs = &cluster;
  config.numAttrs = 1;
  HETERO_RETURN_IF_CUDA_ERROR(
      cudaLaunchKernelEx(&config, HeldRowKernel<T, kThreads, kVectors>, operands));
  return absl::OkStatus();
}

}  // namespace

absl::Status CrossEntropyCuda(const CrossEntropyArgs& args, Stream& stream) {
  const int64_t num_rows = args.logits_TV.dim(0);
  const int64_t columns = args.logits_TV.dim(1);
  return VisitLogits(args.logits_TV, [&]<typename T, int kWidth>() {
    Operands<T> op{.logits = {cuda::RowsOf<T>(args.logits_TV), columns},
                   .pieces = 1,
                   .targets = args.targets_T.data<int32_t>(),
                   .weights = cuda::DataOrNull<float>(args.weight_T),
                   .loss = args.loss_T.data<float>(),
                   .argmax = cuda::DataOrNull<int32_t>(args.argmax_T)};
    if constexpr (kWidth > 1) {
      if (columns <= 128 * 4 * kWidth) return LaunchHeld<T, 128, 4>(op, num_rows, stream);
      constexpr int kThreads = 512;
      constexpr int kVectors = 8;
      const int64_t pieces = CeilDiv(columns, int64_t{kThreads} * kVectors * kWidth);
      if (pieces <= kMaxPieces) {
        op.pieces = static_cast<int>(pieces);
        return LaunchHeld<T, kThreads, kVectors>(op, num_rows, stream);
      }
    }
    constexpr int kThreads = 1024;
    const cuda::LaunchShape shape = {.grid = static_cast<unsigned>(num_rows), .block = kThreads};
    return HETERO_CUDA_LAUNCH((StreamedRowKernel<T, kWidth, kThreads>), shape, stream, op);
  });
}

}  // namespace hetero::internal
