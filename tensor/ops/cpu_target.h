#ifndef HETERO_TENSOR_OPS_CPU_TARGET_H_
#define HETERO_TENSOR_OPS_CPU_TARGET_H_

// Which instructions the CPU side uses. Kernels are compiled for x86-64-v3 and for AVX-512 (F, BW,
// DQ, VL), products come from oneDNN, which generates code for the same; both choose at run time
// the widest that the processor has.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace hetero {

enum class CpuTarget : uint8_t { kAvx2, kAvx512 };

// Of the kernels. A few nanoseconds.
CpuTarget ChosenCpuTarget();

// Keeps the kernels and products of this process to "avx2" or "avx512". Call it before the first
// product, which fixes that library's choice, and while no kernel runs.
// Errors: INVALID_ARGUMENT for another name and for instructions that this processor lacks;
// FAILED_PRECONDITION after the first product.
absl::Status LimitCpuTarget(std::string_view name);

// The library behind the products, the instructions in use and the threads of a rank, as one line
// for a start-up log: "oneDNN 2.6.3 with AVX-512, kernels with AVX-512, 1 thread a rank".
std::string CpuDescription();

// The products' library links OpenMP, which at the start of a process binds the first thread to one
// processor where the environment says so (OMP_PROC_BIND, GOMP_CPU_AFFINITY). Ranks are threads
// that inherit this, and would share that one. Gives the calling thread the processors of all
// places back. For the start of a program.
void LeaveOpenMpPlace();

namespace internal {

// Of the kernels alone, at any time at which none runs. Precondition: the processor has it.
void SetKernelTarget(CpuTarget target);

// Has oneDNN use the widest instructions of the processor that LimitCpuTarget allows, whatever the
// environment says. Call it before the first product; later calls do nothing.
void ChooseTargetOfProducts();

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CPU_TARGET_H_
