#include <algorithm>
#include <cstdint>

#include "hetero/base/rounding.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/cuda_counting_sort.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_move_rows.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"

namespace hetero::internal {
namespace {

using cuda::kRowsAtOnce;
using cuda::kRowThreads;
using cuda::Rows;

struct ExpertOfChoice {
  const int32_t* experts_TK;
  __device__ int operator()(int64_t choice) const { return experts_TK[choice]; }
};

struct PutChoice {
  int64_t top_k;
  int32_t* rows_TK;
  int32_t* tokens_R;
  __device__ void operator()(int64_t choice, int32_t row) const {
    rows_TK[choice] = row;
    tokens_R[row] = static_cast<int32_t>(choice / top_k);
  }
};

// Threads of a block that moves the rows of one token: with an access each all of a row travels at
// once, so that what lies together in memory is asked for together.
unsigned TokenThreads(int64_t accesses) {
  constexpr int64_t kMost = 512;
  return static_cast<unsigned>(
      RoundUp(std::clamp<int64_t>(accesses, 1, kMost), int64_t{cuda::kWarpSize}));
}

template <typename Access>
__global__ void ScatterTokenRowsKernel(const char* x, int64_t pitch, const int32_t* rows_TK,
                                       Access* out, int top_k, int64_t accesses) {
  const int64_t t = blockIdx.x;
  const auto* const from = reinterpret_cast<const Access*>(x + t * pitch);
  const int32_t* const rows = rows_TK + t * top_k;
  for (int64_t i = threadIdx.x; i < accesses; i += blockDim.x) {
    const Access value = __ldg(from + i);
#pragma unroll 8
    for (int j = 0; j < top_k; ++j) {
      const int32_t row = __ldg(rows + j);
      if (row >= 0) out[row * accesses + i] = value;
    }
  }
}

// A warp a token. The rows of a token are loaded before the first is added: they lie far apart.
template <typename T, int kWidth>
__global__ __launch_bounds__(kRowThreads) void SumTokenRowsKernel(const T* rows_RH,
                                                                  const int32_t* rows_TK,
                                                                  Rows<const T> addend, Rows<T> out,
                                                                  int64_t num_tokens, int top_k,
                                                                  int64_t num_features) {
  constexpr int kUnroll = 4;
  const int64_t t =
      int64_t{blockIdx.x} * kRowsAtOnce<cuda::kWarpSize> + threadIdx.x / cuda::kWarpSize;
  if (t >= num_tokens) return;
  const int32_t* const rows = rows_TK + t * top_k;
  const bool has_rows = rows[0] >= 0;
  for (int64_t h = threadIdx.x % cuda::kWarpSize * kWidth; h < num_features;
       h += cuda::kWarpSize * kWidth) {
    float sum[kWidth] = {};
    for (int last = top_k - 1; last >= 0; last -= kUnroll) {
      float row[kUnroll][kWidth] = {};
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (last >= u && has_rows) cuda::Load(rows_RH + rows[last - u] * num_features + h, row[u]);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += row[u][i];
      }
    }
    if (!addend.is_null()) {
      float value[kWidth];
      cuda::Load(addend[t] + h, value);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] = value[i] + sum[i];
    }
    cuda::Store(sum, out[t] + h);
  }
}

constexpr int kThreads = 256;

// kScatter: out[rows[i]] = values[i], else out[i] = values[rows[i]], 0 where there is no row.
template <typename T, bool kScatter>
__global__ __launch_bounds__(kThreads) void MoveValuesKernel(const T* values, const int32_t* rows,
                                                             T* out, int64_t num_choices) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= num_choices) return;
  const int32_t row = rows[i];
  if constexpr (kScatter) {
    if (row >= 0) out[row] = values[i];
  } else {
    out[i] = row >= 0 ? values[row] : T();
  }
}

template <bool kScatter>
absl::Status MoveValues(const ConstTensorView& values, const ConstTensorView& rows_TK,
                        const TensorView& out, Stream& stream) {
  return cuda::VisitFloat(out.dtype(), [&]<typename T>() {
    const int64_t num_choices = rows_TK.num_elements();
    const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(num_choices, kThreads),
                                     .block = kThreads};
    return HETERO_CUDA_LAUNCH((MoveValuesKernel<T, kScatter>), shape, stream, values.data<T>(),
                              rows_TK.data<int32_t>(), out.data<T>(), num_choices);
  });
}

}  // namespace

absl::Status AssignExpertRowsCuda(const AssignExpertRowsArgs& args, const TensorView& scratch_CE,
                                  Stream& stream) {
  // The sort leaves choices without an expert alone.
  if (args.tokens_R.dim(0) < args.experts_TK.num_elements()) {
    HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
    HETERO_RETURN_IF_CUDA_ERROR(cudaMemsetAsync(args.rows_TK.address(), 0xff,
                                                args.rows_TK.num_bytes(),
                                                static_cast<cudaStream_t>(stream.handle())));
  }
  return cuda::CountingSort(ExpertOfChoice{args.experts_TK.data<int32_t>()},
                            PutChoice{args.experts_TK.dim(1), args.rows_TK.data<int32_t>(),
                                      args.tokens_R.data<int32_t>()},
                            args.experts_TK.num_elements(), static_cast<int>(args.counts_E.dim(0)),
                            scratch_CE.data<int32_t>(), args.offsets_E1.data<int32_t>(), stream);
}

absl::Status GatherTokenRowsCuda(const ConstTensorView& x_TH, const ConstTensorView& tokens_R,
                                 const TensorView& out_RH, Stream& stream) {
  return cuda::MoveRows({.count = tokens_R.dim(0), .from = tokens_R.data<int32_t>()}, x_TH, out_RH,
                        stream);
}

absl::Status ScatterTokenRowsCuda(const ConstTensorView& x_TH, const ConstTensorView& rows_TK,
                                  const TensorView& out_RH, Stream& stream) {
  const int64_t size = SizeOf(x_TH.dtype());
  const auto launch = [&]<typename Access>() {
    const int64_t accesses = x_TH.dim(1) * size / static_cast<int64_t>(sizeof(Access));
    const cuda::LaunchShape shape = {.grid = accesses == 0 ? 0 : cuda::NumBlocks(rows_TK.dim(0), 1),
                                     .block = TokenThreads(accesses)};
    return HETERO_CUDA_LAUNCH(ScatterTokenRowsKernel<Access>, shape, stream,
                              static_cast<const char*>(x_TH.address()), x_TH.stride(0) * size,
                              rows_TK.data<int32_t>(), static_cast<Access*>(out_RH.address()),
                              static_cast<int>(rows_TK.dim(1)), accesses);
  };
  if (cuda::AllowVectors({x_TH, out_RH}, static_cast<int>(16 / size))) {
    return launch.template operator()<uint4>();
  }
  switch (size) {
    case 2:
      return launch.template operator()<uint16_t>();
    case 4:
      return launch.template operator()<uint32_t>();
    default:
      return launch.template operator()<unsigned long long>();
  }
}

absl::Status SumTokenRowsCuda(const ConstTensorView& rows_RH, const ConstTensorView& rows_TK,
                              const ConstTensorView& addend_TH, const TensorView& out_TH,
                              Stream& stream) {
  return cuda::VisitFloat(out_TH.dtype(), [&]<typename T>() {
    const int64_t num_features = out_TH.dim(1);
    return cuda::VisitWidth<T>(num_features, {rows_RH, addend_TH, out_TH}, [&]<int kWidth>() {
      const cuda::LaunchShape shape = {
          .grid = cuda::NumBlocks(out_TH.dim(0), kRowsAtOnce<cuda::kWarpSize>),
          .block = kRowThreads};
      return HETERO_CUDA_LAUNCH((SumTokenRowsKernel<T, kWidth>), shape, stream, rows_RH.data<T>(),
                                rows_TK.data<int32_t>(), cuda::RowsOf<T>(addend_TH),
                                cuda::RowsOf<T>(out_TH), out_TH.dim(0),
                                static_cast<int>(rows_TK.dim(1)), num_features);
    });
  });
}

absl::Status ScatterToRowsCuda(const ConstTensorView& values_TK, const ConstTensorView& rows_TK,
                               const TensorView& out_R, Stream& stream) {
  return MoveValues<true>(values_TK, rows_TK, out_R, stream);
}

absl::Status GatherFromRowsCuda(const ConstTensorView& values_R, const ConstTensorView& rows_TK,
                                const TensorView& out_TK, Stream& stream) {
  return MoveValues<false>(values_R, rows_TK, out_TK, stream);
}

}  // namespace hetero::internal
