#include "hetero/tensor/ops/gemm/matmul_cuda.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/cublas_lt_status.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/plan_cache.h"

namespace hetero::cuda {
namespace {

template <typename T, cublasStatus_t (*kDestroy)(T)>
struct Destroyer {
  using pointer = T;
  void operator()(T handle) const { static_cast<void>(kDestroy(handle)); }
};
template <typename T, cublasStatus_t (*kDestroy)(T)>
using Owned = std::unique_ptr<T, Destroyer<T, kDestroy>>;

using Handle = Owned<cublasLtHandle_t, cublasLtDestroy>;
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// What the choice of an algorithm depends on.
struct Problem {
  bool transpose_a, transpose_b, has_bias, reads_c;
  DType dtype, c_dtype;
  uint32_t align_a, align_b, align_c, align_added;
  int64_t m, n, k, stride_a, stride_b, stride_c, stride_added;
  int64_t batch, batch_stride_a, batch_stride_b, batch_stride_c;

  bool operator==(const Problem&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const Problem& p) {
    return H::combine(std::move(h), p.transpose_a, p.transpose_b, p.has_bias, p.reads_c, p.dtype,
                      p.c_dtype, p.align_a, p.align_b, p.align_c, p.align_added, p.m, p.n, p.k,
                      p.stride_a, p.stride_b, p.stride_c, p.stride_added, p.batch, p.batch_stride_a,
                      p.batch_stride_b, p.batch_stride_c);
  }
};

struct Plan {
  Operation operation;
  Layout a, b, c, added;
  cublasLtMatmulAlgo_t algorithm;
};

cudaDataType_t DataType(DType dtype) { return dtype == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF; }

// The largest power of two up to 256 that divides the address.
uint32_t Alignment(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(bits & -bits);
}

// A row-major matrix as the library sees it: column-major and transposed.
absl::StatusOr<Layout> MakeLayout(DType dtype, int64_t rows, int64_t columns, int64_t stride,
                                  int64_t batch, int64_t batch_stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  HETERO_RETURN_IF_CUBLAS_ERROR(
      cublasLtMatrixLayoutCreate(&layout, DataType(dtype), columns, rows, stride));
  Layout owned(layout);
  if (batch > 1) {
    const auto count = static_cast<int32_t>(batch);
    HETERO_RETURN_IF_CUBLAS_ERROR(cublasLtMatrixLayoutSetAttribute(
        layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)));
    HETERO_RETURN_IF_CUBLAS_ERROR(cublasLtMatrixLayoutSetAttribute(
        layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride, sizeof(batch_stride)));
  }
  return owned;
}

template <typename T>
cublasStatus_t Set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                   const T& value) {
  return cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof(value));
}
template <typename T>
cublasStatus_t Set(cublasLtMatmulPreference_t preference,
                   cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  return cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
}

// cᵀ = op(b)ᵀ op(a)ᵀ: the library's first operand is our second.
absl::StatusOr<Plan> MakePlan(cublasLtHandle_t handle, const Problem& p) {
  Plan plan;
  cublasLtMatmulDesc_t operation = nullptr;
  HETERO_RETURN_IF_CUBLAS_ERROR(
      cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  plan.operation.reset(operation);
  const cublasOperation_t op_a = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t op_b = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  HETERO_RETURN_IF_CUBLAS_ERROR(Set(operation, CUBLASLT_MATMUL_DESC_TRANSA, op_b));
  HETERO_RETURN_IF_CUBLAS_ERROR(Set(operation, CUBLASLT_MATMUL_DESC_TRANSB, op_a));
  if (p.has_bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    HETERO_RETURN_IF_CUBLAS_ERROR(Set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue));
    HETERO_RETURN_IF_CUBLAS_ERROR(
        Set(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, DataType(p.c_dtype)));
  }
  HETERO_ASSIGN_OR_RETURN(
      plan.a, MakeLayout(p.dtype, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.stride_a,
                         p.batch, p.batch_stride_a));
  HETERO_ASSIGN_OR_RETURN(
      plan.b, MakeLayout(p.dtype, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.stride_b,
                         p.batch, p.batch_stride_b));
  HETERO_ASSIGN_OR_RETURN(plan.c,
                          MakeLayout(p.c_dtype, p.m, p.n, p.stride_c, p.batch, p.batch_stride_c));
  HETERO_ASSIGN_OR_RETURN(
      plan.added, MakeLayout(p.c_dtype, p.m, p.n, p.stride_added, p.batch, p.batch_stride_c));

  cublasLtMatmulPreference_t preference = nullptr;
  HETERO_RETURN_IF_CUBLAS_ERROR(cublasLtMatmulPreferenceCreate(&preference));
  const Preference owned(preference);
  const auto scratch = static_cast<uint64_t>(kMatmulScratchBytes);
  HETERO_RETURN_IF_CUBLAS_ERROR(Set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, scratch));
  // Parts of a split sum meet in f32. By default they may be rounded to the output's type first.
  const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  HETERO_RETURN_IF_CUBLAS_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes));
  HETERO_RETURN_IF_CUBLAS_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.align_b));
  HETERO_RETURN_IF_CUBLAS_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.align_a));
  HETERO_RETURN_IF_CUBLAS_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.align_added));
  HETERO_RETURN_IF_CUBLAS_ERROR(
      Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.align_c));
  cublasLtMatmulHeuristicResult_t result;
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, operation, plan.b.get(), plan.a.get(), plan.added.get(), plan.c.get(), preference, 1,
      &result, &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && found == 0)) {
    return absl::UnimplementedError(absl::StrCat(
        "cuBLASLt has no algorithm for ", p.batch, " products ", p.m, "x", p.n, "x", p.k, " of ",
        Name(p.dtype), " into ", Name(p.c_dtype), ", row strides ", p.stride_a, ", ", p.stride_b,
        ", ", p.stride_c, ", alignments ", p.align_a, ", ", p.align_b, ", ", p.align_c));
  }
  HETERO_RETURN_IF_CUBLAS_ERROR(status);
  plan.algorithm = result.algo;
  return plan;
}

// The library's handle and the plans of the shapes met so far, of one stream.
class CublasLt {
 public:
  static absl::StatusOr<std::unique_ptr<CublasLt>> Create(hetero::Stream& stream) {
    HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
    cublasLtHandle_t handle = nullptr;
    HETERO_RETURN_IF_CUBLAS_ERROR(cublasLtCreate(&handle));
    auto library = std::make_unique<CublasLt>();
    library->handle_.reset(handle);
    return library;
  }

  cublasLtHandle_t handle() const { return handle_.get(); }

  absl::StatusOr<Plan*> PlanOf(const Problem& problem) {
    return plans_.Get(problem, [&](const Problem& p) { return MakePlan(handle_.get(), p); });
  }

 private:
  // Batches of all lengths come by; each choice costs the host some ten microseconds.
  static constexpr size_t kMaxPlans = 4096;

  Handle handle_;
  PlanCache<Problem, Plan> plans_{kMaxPlans};
};

}  // namespace

absl::Status Matmul(const MatmulArgs& args, const TensorView& scratch, hetero::Stream& stream) {
  const bool known = args.dtype == DType::kF32 || args.dtype == DType::kBF16;
  if (!known || (args.c_dtype != args.dtype && args.c_dtype != DType::kF32)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a GPU multiplies f32 and bf16, into the same or f32; not ", Name(args.dtype),
                     " into ", Name(args.c_dtype)));
  }
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
  HETERO_ASSIGN_OR_RETURN(CublasLt* const library, stream.State<CublasLt>());
  const bool adds_c = args.added == nullptr || args.beta == 0;
  const void* const added = adds_c ? args.c : args.added;
  const int64_t stride_added = adds_c ? args.stride_c : args.stride_added;
  HETERO_ASSIGN_OR_RETURN(Plan* const plan,
                          library->PlanOf({.transpose_a = args.transpose_a,
                                           .transpose_b = args.transpose_b,
                                           .has_bias = args.bias != nullptr,
                                           .reads_c = args.beta != 0,
                                           .dtype = args.dtype,
                                           .c_dtype = args.c_dtype,
                                           .align_a = Alignment(args.a),
                                           .align_b = Alignment(args.b),
                                           .align_c = Alignment(args.c),
                                           .align_added = Alignment(added),
                                           .m = args.m,
                                           .n = args.n,
                                           .k = args.k,
                                           .stride_a = args.stride_a,
                                           .stride_b = args.stride_b,
                                           .stride_c = args.stride_c,
                                           .stride_added = stride_added,
                                           .batch = args.batch,
                                           .batch_stride_a = args.batch_stride_a,
                                           .batch_stride_b = args.batch_stride_b,
                                           .batch_stride_c = args.batch_stride_c}));
  if (args.bias != nullptr) {
    HETERO_RETURN_IF_CUBLAS_ERROR(
        Set(plan->operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.bias));
  }
  const auto alpha = static_cast<float>(args.alpha);
  const auto beta = static_cast<float>(args.beta);
  HETERO_RETURN_IF_CUBLAS_ERROR(cublasLtMatmul(
      library->handle(), plan->operation.get(), &alpha, args.b, plan->b.get(), args.a,
      plan->a.get(), &beta, added, plan->added.get(), args.c, plan->c.get(), &plan->algorithm,
      scratch.address(), scratch.num_bytes(), static_cast<cudaStream_t>(stream.handle())));
  return absl::OkStatus();
}

}  // namespace hetero::cuda
