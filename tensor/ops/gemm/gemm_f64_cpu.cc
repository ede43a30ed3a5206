#include <cstdint>
#include <vector>

#include "hetero/tensor/ops/gemm/gemm_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops/gemm/gemm_f64_cpu.cc"
#include "hwy/foreach_target.h"  // includes this file once a target
//
#include "hetero/tensor/ops/register_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hetero::cpu::HWY_NAMESPACE {
namespace {

void Product(const RegisterProductArgs<double>& args) { RegisterProduct(args); }

}  // namespace
}  // namespace hetero::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hetero::cpu {

HWY_EXPORT(Product);

template <>
absl::Status Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha,
                  const double* a, int64_t stride_a, const double* b, int64_t stride_b, double beta,
                  double* c, int64_t stride_c) {
  const int64_t padded_n = PadToVector<double>(n);
  std::vector<double> b_packed(k * padded_n);
  for (int64_t l = 0; l < k; ++l) {
    for (int64_t j = 0; j < n; ++j) {
      b_packed[l * padded_n + j] = transpose_b ? b[j * stride_b + l] : b[l * stride_b + j];
    }
  }
  std::vector<double> product(m * padded_n);
  HWY_DYNAMIC_DISPATCH(Product)
  ({.m = m,
    .n = padded_n,
    .k = k,
    .a = a,
    .a_row = transpose_a ? 1 : stride_a,
    .a_column = transpose_a ? stride_a : 1,
    .b = b_packed.data(),
    .b_row = padded_n,
    .c = product.data(),
    .c_row = padded_n});
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double& element = c[i * stride_c + j];
      element = alpha * product[i * padded_n + j] + (beta == 0 ? 0 : beta * element);
    }
  }
  return absl::OkStatus();
}

}  // namespace hetero::cpu
#endif  // HWY_ONCE
