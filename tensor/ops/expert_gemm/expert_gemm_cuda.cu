#include <algorithm>
#include <cstdint>

#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/hopper_device.h"

namespace hetero::internal {
namespace {

using Kind = ExpertProduct::Kind;

// c = a b in f32 fused multiply-adds, for f32 and for shapes that tensor cores do not take: a block
// computes kTile x kTile elements, a thread kSide x kSide of them in registers. Every element is
// one sum in ascending order of its terms, whatever rows its neighbours have. A tile costs
// 2 kTile² depth operations and reads 2 kTile depth elements, 32 operations for a byte of f32: it
// is bound by arithmetic.
constexpr int kTile = 128;
constexpr int kDepth = 8;
constexpr int kSide = 8;
constexpr int kThreads = (kTile / kSide) * (kTile / kSide);
constexpr int kLoads = kTile * kDepth / kThreads;  // of each operand, by a thread for a step
constexpr int kPitch = kTile + 4;                  // keeps float4s aligned, spreads the banks

struct Operands {
  const void* a;
  const void* b;
  void* c;
  const int32_t* offsets;
  int num_experts;
  int num_inputs, num_outputs;  // K, N
  bool accumulate;
};

// The rows of the block's tile of m: expert e's, from `m0` on. False: the block has no tile.
template <Kind kKind>
__device__ bool FindTile(const Operands& op, int& e, int& begin, int& end, int& m0) {
  int tile = blockIdx.x;
  if constexpr (kKind == Kind::kBackwardWeight) {
    const int tiles = CeilDiv(op.num_outputs, kTile);
    e = tile / tiles;
    begin = op.offsets[e];
    end = op.offsets[e + 1];
    m0 = tile % tiles * kTile;
    return true;
  } else {
    for (e = 0; e < op.num_experts; ++e) {
      begin = op.offsets[e];
      end = op.offsets[e + 1];
      const int tiles = CeilDiv(end - begin, kTile);
      if (tile < tiles) {
        m0 = tile * kTile;
        return true;
      }
      tile -= tiles;
    }
    return false;
  }
}

// A matrix as its [kTile, kDepth] parts are read: element (i, k) at i * stride_i + k * stride_k, of
// which one is 1, and zero outside its extents.
template <bool kContiguousDepth, typename T>
struct Source {
  const T* from;
  int64_t stride;
  int extent, depth;

  __device__ void Fetch(int k0, float (&values)[kLoads]) const {
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      const int at = load * kThreads + threadIdx.x;
      const int i = kContiguousDepth ? at / kDepth : at % kTile;
      const int k = k0 + (kContiguousDepth ? at % kDepth : at / kTile);
      const int64_t address = kContiguousDepth ? i * stride + k : k * stride + i;
      values[load] = i < extent && k < depth ? cuda::ToFloat(from[address]) : 0.0f;
    }
  }
  __device__ static void Put(const float (&values)[kLoads], float (&tile)[kDepth][kPitch]) {
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      const int at = load * kThreads + threadIdx.x;
      if constexpr (kContiguousDepth) {
        tile[at % kDepth][at / kDepth] = values[load];
      } else {
        tile[at / kTile][at % kTile] = values[load];
      }
    }
  }
};

template <Kind kKind, typename T>
__global__ __launch_bounds__(kThreads, 2) void ExpertTileKernel(Operands op) {
  constexpr bool kWeight = kKind == Kind::kBackwardWeight;
  using Out = std::conditional_t<kWeight, float, T>;
  __shared__ float a_tiles[2][kDepth][kPitch];
  __shared__ float b_tiles[2][kDepth][kPitch];
  int e, begin, end, m0;
  if (!FindTile<kKind>(op, e, begin, end, m0)) return;
  const int n0 = blockIdx.y * kTile;
  const int rows = end - begin;
  const int columns = kKind == Kind::kForward ? op.num_outputs : op.num_inputs;
  const int m_extent = (kWeight ? op.num_outputs : rows) - m0;
  const int depth = kWeight ? rows : kKind == Kind::kForward ? op.num_inputs : op.num_outputs;
  if (kWeight && op.accumulate && depth == 0) return;
  const int64_t a_width = kKind == Kind::kForward ? op.num_inputs : op.num_outputs;
  const int64_t weight = int64_t{e} * op.num_outputs * op.num_inputs;

  const T* const a = static_cast<const T*>(op.a) + begin * a_width;
  const T* const b = static_cast<const T*>(op.b) + (kWeight ? begin * int64_t{columns} : weight);
  const Source<!kWeight, T> a_source = {kWeight ? a + m0 : a + m0 * a_width, a_width, m_extent,
                                        depth};
  constexpr bool kDepthOfB = kKind == Kind::kForward;
  const int64_t b_stride = op.num_inputs;
  const Source<kDepthOfB, T> b_source = {kDepthOfB ? b + n0 * b_stride : b + n0, b_stride,
                                         columns - n0, depth};

  // A thread's elements: two runs of four rows by two runs of four columns, half a tile apart, so
  // that neighbours read neighbouring words.
  constexpr int kRun = kSide / 2;
  const int row = threadIdx.x / (kTile / kSide) * kRun;
  const int column = threadIdx.x % (kTile / kSide) * kRun;
  float sums[kSide][kSide] = {};
  float a_next[kLoads], b_next[kLoads];
  a_source.Fetch(0, a_next);
  b_source.Fetch(0, b_next);
  int side = 0;
  for (int k0 = 0; k0 < depth; k0 += kDepth) {
    a_source.Put(a_next, a_tiles[side]);
    b_source.Put(b_next, b_tiles[side]);
    __syncthreads();
    if (k0 + kDepth < depth) {
      a_source.Fetch(k0 + kDepth, a_next);
      b_source.Fetch(k0 + kDepth, b_next);
    }
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float x[kSide], y[kSide];
#pragma unroll
      for (int run = 0; run < 2; ++run) {
        *reinterpret_cast<float4*>(x + run * kRun) =
            *reinterpret_cast<const float4*>(&a_tiles[side][k][run * (kTile / 2) + row]);
        *reinterpret_cast<float4*>(y + run * kRun) =
            *reinterpret_cast<const float4*>(&b_tiles[side][k][run * (kTile / 2) + column]);
      }
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
#pragma unroll
        for (int j = 0; j < kSide; ++j) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
      }
    }
    side ^= 1;
  }

  Out* const c = static_cast<Out*>(op.c) +
                 (kWeight ? weight + int64_t{m0} * columns : (begin + int64_t{m0}) * columns) + n0;
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    const int m = i / kRun * (kTile / 2) + row + i % kRun;
    if (m >= m_extent) continue;
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const int n = j / kRun * (kTile / 2) + column + j % kRun;
      if (n >= columns - n0) continue;
      Out& out = c[int64_t{m} * columns + n];
      if constexpr (kWeight) {
        out = op.accumulate ? out + sums[i][j] : sums[i][j];
      } else {
        out = cuda::FromFloat<Out>(sums[i][j]);
      }
    }
  }
}

template <Kind kKind, typename T>
absl::Status LaunchTiles(const ExpertProduct& product, Stream& stream) {
  // Of rows, an upper bound: where experts end is known on the device alone.
  const int64_t row_tiles =
      kKind == Kind::kBackwardWeight
          ? product.num_experts * CeilDiv(product.num_outputs, kTile)
          : product.num_rows / kTile + std::min(product.num_experts, product.num_rows);
  const int64_t columns = kKind == Kind::kForward ? product.num_outputs : product.num_inputs;
  const cuda::LaunchShape shape = {
      .grid = {static_cast<unsigned>(row_tiles), cuda::NumBlocks(columns, kTile)},
      .block = kThreads};
  const Operands op = {.a = product.a.address(),
                       .b = product.b.address(),
                       .c = product.c.address(),
                       .offsets = product.offsets.data<int32_t>(),
                       .num_experts = static_cast<int>(product.num_experts),
                       .num_inputs = static_cast<int>(product.num_inputs),
                       .num_outputs = static_cast<int>(product.num_outputs),
                       .accumulate = product.accumulate};
  return HETERO_CUDA_LAUNCH((ExpertTileKernel<kKind, T>), shape, stream, op);
}

// Rows without features have sums of nothing.
absl::Status ClearRowSums(const ExpertProduct& product, Stream& stream) {
  const TensorView& dp = product.squared_relu.dp_R;
  if (dp.is_null() || dp.num_elements() == 0) return absl::OkStatus();
  HETERO_RETURN_IF_CUDA_ERROR(
      cudaMemsetAsync(dp.address(), 0, dp.num_bytes(), static_cast<cudaStream_t>(stream.handle())));
  return absl::OkStatus();
}

}  // namespace

absl::Status ExpertProductCuda(const ExpertProduct& product, Stream& stream) {
  if (product.c.num_elements() == 0) return ClearRowSums(product, stream);
  HETERO_ASSIGN_OR_RETURN(const bool has_tensor_cores, HasHopperTensorCores(stream));
  if (has_tensor_cores && FitsTensorCores(product)) {
    return ExpertProductOnTensorCores(product, stream);
  }
  HETERO_RETURN_IF_ERROR(cuda::VisitFloat(product.a.dtype(), [&]<typename T>() -> absl::Status {
    switch (product.kind) {
      case Kind::kForward:
        return LaunchTiles<Kind::kForward, T>(product, stream);
      case Kind::kBackwardInput:
        return LaunchTiles<Kind::kBackwardInput, T>(product, stream);
      case Kind::kBackwardWeight:
        return LaunchTiles<Kind::kBackwardWeight, T>(product, stream);
    }
    return absl::OkStatus();
  }));
  const ExpertSquaredRelu& relu = product.squared_relu;
  if (!relu.present()) return absl::OkStatus();
  if (product.kind == Kind::kForward) {
    return SquaredReluForwardCuda(product.c, relu.p_R, relu.activated_RN, stream);
  }
  return SquaredReluBackwardCuda({.da_TF = product.c,
                                  .f_TF = relu.f_RK,
                                  .p_T = relu.p_R,
                                  .df_TF = product.c,
                                  .dp_T = relu.dp_R},
                                 stream);
}

}  // namespace hetero::internal
