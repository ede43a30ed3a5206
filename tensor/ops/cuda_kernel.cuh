#ifndef HETERO_TENSOR_OPS_CUDA_KERNEL_CUH_
#define HETERO_TENSOR_OPS_CUDA_KERNEL_CUH_

// What CUDA kernels share: the pair of cpu_kernel.h. Kernels store f32 or bf16 and compute in f32;
// every sum has an order that the extents alone fix, so the same call gives the same bits.
//
//   return cuda::VisitFloat(x.dtype(), [&]<typename T>() {
//     return HETERO_CUDA_LAUNCH(SiluKernel<T>, {.grid = cuda::NumBlocks(n, 256), .block = 256},
//                               stream, x.data<T>(), y.data<T>(), n);
//   });

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// A view's data<__nv_bfloat16>() is its data<BFloat16>(): the same bits.
template <>
inline constexpr DType kDTypeOf<__nv_bfloat16> = DType::kBF16;

namespace cuda {

inline constexpr int kWarpSize = 32;

// Calls `function.template operator()<T>()`, which returns a Status, with float or __nv_bfloat16.
// Errors: INVALID_ARGUMENT for every other type.
template <typename Function>
absl::Status VisitFloat(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kF32:
      return function.template operator()<float>();
    case DType::kBF16:
      return function.template operator()<__nv_bfloat16>();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a GPU computes in f32 and bf16, not in ", Name(dtype)));
  }
}

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // dynamic; up to what the device has
};

// Blocks of `items_per_block` that cover `items`.
inline unsigned NumBlocks(int64_t items, int64_t items_per_block) {
  return static_cast<unsigned>(CeilDiv(items, items_per_block));
}

// Queues a kernel; a grid without blocks is no launch.
// Errors: UNIMPLEMENTED a grid that no GPU takes; INTERNAL what the launch, or earlier work of the
// device, ran into; both with the kernel's name.
template <typename... Parameters, typename... Arguments>
absl::Status Launch(std::string_view name, void (*kernel)(Parameters...), const LaunchShape& shape,
                    hetero::Stream& stream, Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return absl::OkStatus();
  constexpr unsigned kMostX = 0x7fffffff, kMostYZ = 65535;
  if (shape.grid.x > kMostX || shape.grid.y > kMostYZ || shape.grid.z > kMostYZ) {
    return absl::UnimplementedError(absl::StrCat(
        name, " would need a grid of ", shape.grid.x, " x ", shape.grid.y, " x ", shape.grid.z,
        " blocks; a GPU takes ", kMostX, " x ", kMostYZ, " x ", kMostYZ));
  }
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
  constexpr size_t kSharedWithoutAsking = 48 << 10;
  if (shape.shared_bytes > kSharedWithoutAsking) {
    HETERO_RETURN_IF_ERROR(
        ToStatus(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                      cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(shape.shared_bytes)),
                 name));
  }
  kernel<<<shape.grid, shape.block, shape.shared_bytes,
           static_cast<cudaStream_t>(stream.handle())>>>(static_cast<Parameters>(arguments)...);
  return ToStatus(cudaGetLastError(), name);
}

// HETERO_CUDA_LAUNCH(kernel, shape, stream, arguments...) -> absl::Status. Commas of template
// arguments and of a shape written in place need parentheses: (Kernel<T, 4>), (LaunchShape{...}).
#define HETERO_CUDA_LAUNCH(kernel, shape, stream, ...) \
  ::hetero::cuda::Launch(#kernel, kernel, shape, stream, __VA_ARGS__)

// What a launch may depend on, of the stream's device; results must not.
struct DeviceFacts {
  int num_multiprocessors = 0;
  int shared_bytes_per_block = 0;

  static absl::StatusOr<std::unique_ptr<DeviceFacts>> Create(hetero::Stream& stream) {
    const int ordinal = stream.device().ordinal;
    auto facts = std::make_unique<DeviceFacts>();
    HETERO_RETURN_IF_CUDA_ERROR(cudaDeviceGetAttribute(&facts->num_multiprocessors,
                                                       cudaDevAttrMultiProcessorCount, ordinal));
    HETERO_RETURN_IF_CUDA_ERROR(cudaDeviceGetAttribute(
        &facts->shared_bytes_per_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal));
    return facts;
  }
};

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

// Rounds once, to nearest even.
template <typename T>
__device__ inline T FromFloat(float x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(x);
  } else {
    return x;
  }
}

__device__ inline float Sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// log(1 + exp(x)) without overflow, and without loss for very negative x.
__device__ inline float Softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

// kWidth neighbours, read and written in accesses of 16 bytes, or of their size if they are less.
template <typename T, int kWidth>
struct alignas(std::min<size_t>(16, sizeof(T) * kWidth)) Vector {
  static_assert((kWidth & (kWidth - 1)) == 0, "a vector has a power of two elements");
  T values[kWidth];
};

// How many elements of T fill one access.
template <typename T>
inline constexpr int kFullWidth = 16 / sizeof(T);

template <int kWidth, typename T>
__device__ inline void Load(const T* from, float (&to)[kWidth]) {
  const auto vector = *reinterpret_cast<const Vector<T, kWidth>*>(from);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) to[i] = ToFloat(vector.values[i]);
}

// An assignment of the struct the compiler may split into stores of its elements.
template <int kWidth, typename T>
__device__ inline void StoreVector(const Vector<T, kWidth>& from, T* to) {
  const auto* const words = reinterpret_cast<const uint32_t*>(&from);
  if constexpr (sizeof(from) % 16 == 0) {
#pragma unroll
    for (size_t i = 0; i < sizeof(from) / 4; i += 4) {
      asm volatile("st.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(reinterpret_cast<uint32_t*>(to) + i),
                   "r"(words[i]), "r"(words[i + 1]), "r"(words[i + 2]), "r"(words[i + 3])
                   : "memory");
    }
  } else if constexpr (sizeof(from) == 8) {
    asm volatile("st.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(words[0]), "r"(words[1]) : "memory");
  } else {
    *reinterpret_cast<Vector<T, kWidth>*>(to) = from;
  }
}

template <int kWidth, typename T>
__device__ inline void Store(const float (&from)[kWidth], T* to) {
  Vector<T, kWidth> vector;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) vector.values[i] = FromFloat<T>(from[i]);
  StoreVector(vector, to);
}

// Whether each row (all dims but the last) of each view is whole vectors of `width` elements at
// addresses where a Vector may lie.
inline bool AllowVectors(std::initializer_list<ConstTensorView> views, int width) {
  return std::ranges::all_of(views, [&](const ConstTensorView& view) {
    if (view.is_null()) return true;
    const int64_t size = SizeOf(view.dtype());
    const int64_t alignment = std::min<int64_t>(16, size * width);
    bool fits = reinterpret_cast<uintptr_t>(view.address()) % alignment == 0 &&
                view.dim(view.rank() - 1) % width == 0;
    for (int d = 0; d + 1 < view.rank(); ++d) {
      fits = fits && (view.dim(d) <= 1 || view.stride(d) * size % alignment == 0);
    }
    return fits;
  });
}

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Maximum {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Every thread gets the result of a reduction. This one goes over groups of kLanes neighbouring
// lanes of a full warp.
template <int kLanes = kWarpSize, typename T, typename Combine>
__device__ inline T WarpReduce(T value, Combine combine) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

// Over a block of kThreads, all of which call it. `identity` leaves combine's other side as it is.
template <int kThreads, typename T, typename Combine>
__device__ inline T BlockReduce(T value, T identity, Combine combine) {
  static_assert(kThreads % kWarpSize == 0 && kThreads <= kWarpSize * kWarpSize);
  constexpr int kWarps = kThreads / kWarpSize;
  value = WarpReduce(value, combine);
  if constexpr (kWarps == 1) return value;
  __shared__ T of_warp[kWarps];
  __syncthreads();  // an earlier reduction may still read
  if (threadIdx.x % kWarpSize == 0) of_warp[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  const int lane = threadIdx.x % kWarpSize;
  return WarpReduce(lane < kWarps ? of_warp[lane] : identity, combine);
}

template <int kLanes = kWarpSize, typename T>
__device__ inline T WarpSum(T value) {
  return WarpReduce<kLanes>(value, Sum());
}
template <int kLanes = kWarpSize>
__device__ inline float WarpMaximum(float value) {
  return WarpReduce<kLanes>(value, Maximum());
}
template <int kThreads, typename T>
__device__ inline T BlockSum(T value) {
  return BlockReduce<kThreads>(value, T(0), Sum());
}
template <int kThreads>
__device__ inline float BlockMaximum(float value) {
  return BlockReduce<kThreads>(value, -INFINITY, Maximum());
}

}  // namespace cuda
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CUDA_KERNEL_CUH_
