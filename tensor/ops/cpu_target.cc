#include "hetero/tensor/ops/cpu_target.h"

#include <sched.h>

#include <cstddef>
#include <mutex>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops/cpu_target.cc"
#include "hwy/foreach_target.h"  // includes this file once a target
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace hetero::HWY_NAMESPACE {

CpuTarget CompiledFor() { return HWY_TARGET <= HWY_AVX3 ? CpuTarget::kAvx512 : CpuTarget::kAvx2; }

}  // namespace hetero::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "absl/strings/str_cat.h"
#include "oneapi/dnnl/dnnl.h"

// Of <omp.h>, which compilers other than GCC may lack.
extern "C" {
int omp_get_num_places();
int omp_get_place_num_procs(int place);
void omp_get_place_proc_ids(int place, int* processors);
}

namespace hetero {
namespace {

constexpr std::string_view kAvx2 = "avx2";
constexpr std::string_view kAvx512 = "avx512";

std::string_view Display(CpuTarget target) {
  return target == CpuTarget::kAvx512 ? "AVX-512" : "AVX2";
}

CpuTarget TargetOfProducts() {
  constexpr unsigned kWide = dnnl_cpu_isa_avx512_core;
  return (dnnl_get_effective_cpu_isa() & kWide) == kWide ? CpuTarget::kAvx512 : CpuTarget::kAvx2;
}

}  // namespace

namespace internal {

void SetKernelTarget(CpuTarget target) {
  hwy::DisableTargets(target == CpuTarget::kAvx512 ? 0 : HWY_AVX3);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

void ChooseTargetOfProducts() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Refused where LimitCpuTarget or the user's program chose before.
    dnnl_set_max_cpu_isa(dnnl_cpu_isa_all);
    dnnl_set_cpu_isa_hints(dnnl_cpu_isa_no_hints);
  });
}

}  // namespace internal

HWY_EXPORT(CompiledFor);

CpuTarget ChosenCpuTarget() { return HWY_DYNAMIC_DISPATCH(CompiledFor)(); }

absl::Status LimitCpuTarget(std::string_view name) {
  if (name != kAvx2 && name != kAvx512) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no cpu target \"", name, "\"; there are avx2 and avx512"));
  }
  const bool wide = name == kAvx512;
  if (wide && (hwy::SupportedTargets() & HWY_AVX3) == 0) {
    return absl::InvalidArgumentError(
        "this processor lacks instructions of the cpu target avx512; it has avx2");
  }
  if (dnnl_set_max_cpu_isa(wide ? dnnl_cpu_isa_all : dnnl_cpu_isa_avx2) != dnnl_success) {
    return absl::FailedPreconditionError("the cpu target is chosen before the first product");
  }
  internal::SetKernelTarget(wide ? CpuTarget::kAvx512 : CpuTarget::kAvx2);
  return absl::OkStatus();
}

std::string CpuDescription() {
  internal::ChooseTargetOfProducts();
  const dnnl_version_t& version = *dnnl_version();
  return absl::StrCat("oneDNN ", version.major, ".", version.minor, ".", version.patch, " with ",
                      Display(TargetOfProducts()), ", kernels with ", Display(ChosenCpuTarget()),
                      ", 1 thread a rank");
}

void LeaveOpenMpPlace() {
  const int num_places = omp_get_num_places();
  if (num_places == 0) return;
  cpu_set_t processors;
  CPU_ZERO(&processors);
  for (int place = 0; place < num_places; ++place) {
    std::vector<int> ids(static_cast<size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, ids.data());
    for (const int id : ids) CPU_SET(id, &processors);
  }
  sched_setaffinity(0, sizeof(processors), &processors);
}

}  // namespace hetero

#endif  // HWY_ONCE
