// Every module on a GPU against the CPU in f64.

#include <vector>

#include "gtest/gtest.h"
#include "hetero/models/testing/module_cases.h"
#include "hetero/models/testing/module_rig.h"

namespace hetero {
namespace {

class ModuleCudaTest : public ::testing::TestWithParam<DType> {
 protected:
  void Check(const std::vector<ModuleCase>& cases) {
    for (const ModuleCase& module : cases) {
      ExpectReference(module, Device{DeviceKind::kCuda}, GetParam(), GetParam());
    }
  }
};

TEST_P(ModuleCudaTest, BlocksHaveTheReferencesGradients) { Check(BlockCases()); }
TEST_P(ModuleCudaTest, VisionHasTheReferencesGradients) { Check(VisionCases()); }
TEST_P(ModuleCudaTest, AudioHasTheReferencesGradients) { Check(AudioCases()); }
TEST_P(ModuleCudaTest, ModelsHaveTheReferencesGradients) { Check(ModelCases(GetParam())); }

TEST_P(ModuleCudaTest, WhatForwardDoesNotKeepBackwardMakesAgainBitForBit) {
  for (const std::vector<ModuleCase>& cases :
       {BlockCases(), VisionCases(), AudioCases(), ModelCases(GetParam())}) {
    for (const ModuleCase& module : cases) {
      ExpectSameRecomputed(module, Device{DeviceKind::kCuda}, GetParam());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, ModuleCudaTest, ::testing::Values(DType::kF32, DType::kBF16),
                         DTypeName);

}  // namespace
}  // namespace hetero
