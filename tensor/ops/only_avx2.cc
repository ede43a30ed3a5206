// Keeps a test program to AVX2.

#include "absl/log/check.h"
#include "hetero/tensor/ops/cpu_target.h"

namespace hetero {
namespace {

[[maybe_unused]] const bool limited = [] {
  CHECK_OK(LimitCpuTarget("avx2"));
  return true;
}();

}  // namespace
}  // namespace hetero
