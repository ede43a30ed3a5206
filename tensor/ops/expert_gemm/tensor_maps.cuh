#ifndef HETERO_TENSOR_OPS_EXPERT_GEMM_TENSOR_MAPS_CUH_
#define HETERO_TENSOR_OPS_EXPERT_GEMM_TENSOR_MAPS_CUH_

// Tensors as the tensor copies of compute capability 9.0 see them.

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero::internal {

// State of a stream: the driver's function that describes a tensor.
class TensorMaps {
 public:
  // Errors: FAILED_PRECONDITION where the driver is too old.
  static absl::StatusOr<std::unique_ptr<TensorMaps>> Create(Stream&) {
    auto maps = std::make_unique<TensorMaps>();
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    HETERO_RETURN_IF_CUDA_ERROR(cudaGetDriverEntryPointByVersion(
        "cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result));
    if (result != cudaDriverEntryPointSuccess) {
      return absl::FailedPreconditionError(
          "the driver has no cuTensorMapEncodeTiled; it must be of CUDA 12.0 or later");
    }
    maps->encode_ = reinterpret_cast<decltype(encode_)>(function);
    return maps;
  }

  // `map`: of the bf16 or f32 elements of `view` as a dense tensor of extents `dims`, of which a
  // copy takes `box`. Both from the innermost, whose rows copies swizzle, of 32, 64 or 128 bytes.
  // Zeros are read outside. Errors: INTERNAL with the driver's code.
  template <size_t kRank>
  absl::Status Make(const ConstTensorView& view, const std::array<int64_t, kRank>& dims,
                    const std::array<uint32_t, kRank>& box, CUtensorMap& map) const {
    std::array<int64_t, kRank - 1> strides;
    int64_t stride = SizeOf(view.dtype());
    for (size_t d = 0; d + 1 < kRank; ++d) strides[d] = stride *= dims[d];
    return MakeStrided<kRank>(view, dims, strides, box, map);
  }

  // `strides`: of dims 1 and on, in bytes, multiples of 16.
  template <size_t kRank>
  absl::Status MakeStrided(const ConstTensorView& view, const std::array<int64_t, kRank>& dims,
                           const std::array<int64_t, kRank - 1>& strides,
                           const std::array<uint32_t, kRank>& box, CUtensorMap& map) const {
    std::array<cuuint64_t, kRank> extents;
    std::array<cuuint64_t, kRank> bytes;  // the last is not read
    std::array<cuuint32_t, kRank> steps;
    for (size_t d = 0; d < kRank; ++d) {
      extents[d] = dims[d];
      bytes[d] = d + 1 < kRank ? strides[d] : 0;
      steps[d] = 1;
    }
    const int64_t row = box[0] * SizeOf(view.dtype());
    const CUresult result =
        encode_(&map,
                view.dtype() == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                             : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                kRank, const_cast<void*>(view.address()), extents.data(), bytes.data(), box.data(),
                steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
                row == 32   ? CU_TENSOR_MAP_SWIZZLE_32B
                : row == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                            : CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result == CUDA_SUCCESS) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("cuTensorMapEncodeTiled: code ", result, " for ", view.ToString()));
  }

 private:
  decltype(&cuTensorMapEncodeTiled) encode_ = nullptr;
};

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_EXPERT_GEMM_TENSOR_MAPS_CUH_
