#include "hetero/tensor/ops/gemm/gemm_cpu.h"

#include <sys/mman.h>

#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/base/out_of_memory.h"
#include "hetero/tensor/ops/cpu_target.h"
#include "oneapi/dnnl/dnnl.h"

// Of <omp.h>, which compilers other than GCC may lack.
extern "C" void omp_set_num_threads(int num_threads);

namespace hetero::cpu {
namespace {

// The library generates its code in 18 MiB when it first needs it and crashes where that finds no
// memory: all of it is generated once, by products of a row and of small squares, after a look at
// whether there is room.
absl::Status GenerateCode() {
  constexpr size_t kRoomBytes = size_t{32} << 20;
  void* const room =
      ::mmap(nullptr, kRoomBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) {
    return OutOfMemoryError(
        "out of memory: no 32 MiB of address space are left for the code of matrix products");
  }
  ::munmap(room, kRoomBytes);
  constexpr int64_t kSide = 8;
  const float one[kSide * kSide] = {};
  float out[kSide * kSide] = {};
  for (const int64_t rows : {int64_t{1}, kSide}) {
    for (const char op_a : {'N', 'T'}) {
      for (const char op_b : {'N', 'T'}) {
        for (const float beta : {0.0f, 1.0f}) {
          dnnl_sgemm(op_a, op_b, rows, kSide, kSide, 1.0f, one, kSide, one, kSide, beta, out,
                     kSide);
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PrepareProducts() {
  // A rank is a thread and computes alone.
  thread_local const bool alone = [] {
    omp_set_num_threads(1);
    return true;
  }();
  static_cast<void>(alone);
  static const absl::Status* const generated = [] {
    internal::ChooseTargetOfProducts();
    return new absl::Status(GenerateCode());
  }();
  return *generated;
}

template <>
absl::Status Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float* a, int64_t stride_a, const float* b, int64_t stride_b, float beta,
                  float* c, int64_t stride_c) {
  if (m == 0 || n == 0) return absl::OkStatus();
  if (k == 0) {  // which the library leaves undone
    for (int64_t i = 0; i < m; ++i, c += stride_c) {
      for (int64_t j = 0; j < n; ++j) c[j] = beta == 0 ? 0 : beta * c[j];
    }
    return absl::OkStatus();
  }
  if (absl::Status ready = PrepareProducts(); !ready.ok()) return ready;
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k,
                                          alpha, a, stride_a, b, stride_b, beta, c, stride_c);
  if (status == dnnl_success) return absl::OkStatus();
  const std::string product = absl::StrCat("a product of ", m, " x ", k, " by ", k, " x ", n);
  return status == dnnl_out_of_memory
             ? OutOfMemoryError(absl::StrCat("no memory left for ", product))
             : absl::InternalError(absl::StrCat("oneDNN refuses ", product, ": ", status));
}

}  // namespace hetero::cpu
