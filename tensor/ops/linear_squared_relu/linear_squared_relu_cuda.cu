#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/hopper_device.h"
#include "hetero/tensor/ops/linear_squared_relu/linear_squared_relu.h"

namespace hetero::internal {
namespace {

// The product as one of a single expert, which has all rows.
ExpertProduct OfOneExpert(const SquaredReluProduct& product) {
  const ConstTensorView& w = product.gemm.b;
  const int64_t outputs = w.dim(0), inputs = w.dim(1);
  return {.kind = product.f.is_null() ? ExpertProduct::Kind::kForward
                                      : ExpertProduct::Kind::kBackwardInput,
          .a = product.gemm.a,
          .b = w.Reshape({1, outputs, inputs}),
          .c = product.gemm.c,
          .squared_relu = {.activated_RN = product.activated, .f_RK = product.f},
          .num_rows = product.gemm.a.dim(0),
          .num_inputs = inputs,
          .num_outputs = outputs,
          .num_experts = 1};
}

}  // namespace

absl::Status SquaredReluProductCuda(const SquaredReluProduct& product, const TensorView& scratch,
                                    Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const bool has_tensor_cores, HasHopperTensorCores(stream));
  const ExpertProduct of_one = OfOneExpert(product);
  if (has_tensor_cores && FitsTensorCores(of_one)) {
    return ExpertProductOnTensorCores(of_one, stream);
  }
  HETERO_RETURN_IF_ERROR(GemmCuda(product.gemm, scratch, stream));
  const TensorView& c = product.gemm.c;
  return product.f.is_null()
             ? SquaredReluForwardCuda(c, {}, product.activated, stream)
             : SquaredReluBackwardCuda({.da_TF = c, .f_TF = product.f, .df_TF = c}, stream);
}

}  // namespace hetero::internal
