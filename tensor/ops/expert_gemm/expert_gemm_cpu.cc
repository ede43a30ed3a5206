#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"

namespace hetero::internal {

namespace {

absl::Status MultiplyCpu(const ExpertProduct& product) {
  using Kind = ExpertProduct::Kind;
  const int64_t n = product.num_outputs, k = product.num_inputs;
  const int32_t* offsets = product.offsets.data<int32_t>();
  return VisitFloat(product.a.dtype(), [&]<typename T>() -> absl::Status {
    const T* a = product.a.data<T>();
    const T* b = product.b.data<T>();
    T* c = product.c.data<T>();
    for (int64_t e = 0; e < product.num_experts; ++e) {
      const int64_t begin = offsets[e], rows = offsets[e + 1] - begin;
      switch (product.kind) {
        case Kind::kForward:
          HETERO_RETURN_IF_ERROR(cpu::Gemm<T>(false, true, rows, n, k, T(1), a + begin * k, k,
                                              b + e * n * k, k, T(0), c + begin * n, n));
          break;
        case Kind::kBackwardInput:
          HETERO_RETURN_IF_ERROR(cpu::Gemm<T>(false, false, rows, k, n, T(1), a + begin * n, n,
                                              b + e * n * k, k, T(0), c + begin * k, k));
          break;
        case Kind::kBackwardWeight:
          HETERO_RETURN_IF_ERROR(cpu::Gemm<T>(true, false, n, k, rows, T(1), a + begin * n, n,
                                              b + begin * k, k, product.accumulate ? T(1) : T(0),
                                              c + e * n * k, k));
          break;
      }
    }
    return absl::OkStatus();
  });
}

}  // namespace

absl::Status ExpertProductCpu(const ExpertProduct& product) {
  HETERO_RETURN_IF_ERROR(MultiplyCpu(product));
  const ExpertSquaredRelu& relu = product.squared_relu;
  if (!relu.present()) return absl::OkStatus();
  if (product.kind == ExpertProduct::Kind::kForward) {
    return SquaredReluForwardCpu(product.c, relu.p_R, relu.activated_RN);
  }
  return SquaredReluBackwardCpu({.da_TF = product.c,
                                 .f_TF = relu.f_RK,
                                 .p_T = relu.p_R,
                                 .df_TF = product.c,
                                 .dp_T = relu.dp_R});
}

}  // namespace hetero::internal
