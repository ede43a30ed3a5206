// Runs the tests of a program once for each target of the machine's kernels, widest first.

#include <iostream>

#include "gtest/gtest.h"
#include "hetero/tensor/ops/cpu_target.h"

namespace hetero {
namespace {

class TargetOfIteration : public ::testing::EmptyTestEventListener {
  // Before GoogleTest asks how often to run the tests.
  void OnTestProgramStart(const ::testing::UnitTest&) override {
    if (widest_ == CpuTarget::kAvx512) ::testing::GTEST_FLAG(repeat) *= 2;
  }

  void OnTestIterationStart(const ::testing::UnitTest&, int iteration) override {
    const bool wide = iteration % 2 == 0 && widest_ == CpuTarget::kAvx512;
    internal::SetKernelTarget(wide ? CpuTarget::kAvx512 : CpuTarget::kAvx2);
    std::cout << "CPU kernels with " << (wide ? "AVX-512" : "AVX2") << std::endl;
  }

  const CpuTarget widest_ = ChosenCpuTarget();
};

[[maybe_unused]] const bool installed = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new TargetOfIteration);
  return true;
}();

}  // namespace
}  // namespace hetero
