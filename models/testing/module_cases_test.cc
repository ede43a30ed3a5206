// The CPU in f32 against the CPU in f64: what proves that the cases compare what they should, on
// numbers of f32 and on the fewer ones of bf16, as on GPUs.

#include "hetero/models/testing/module_cases.h"

#include <vector>

#include "gtest/gtest.h"
#include "hetero/models/testing/module_rig.h"

namespace hetero {
namespace {

class ModuleTest : public ::testing::TestWithParam<DType> {
 protected:
  void Check(const std::vector<ModuleCase>& cases) {
    for (const ModuleCase& module : cases) {
      ExpectReference(module, Device{}, DType::kF32, GetParam());
    }
  }
};

TEST_P(ModuleTest, BlocksHaveTheReferencesGradients) { Check(BlockCases()); }
TEST_P(ModuleTest, VisionHasTheReferencesGradients) { Check(VisionCases()); }
TEST_P(ModuleTest, AudioHasTheReferencesGradients) { Check(AudioCases()); }
TEST_P(ModuleTest, ModelsHaveTheReferencesGradients) { Check(ModelCases(GetParam())); }

TEST(HalvesTest, ABackwardInTwoHalvesLeavesTheSame) {
  for (const std::vector<ModuleCase>& cases :
       {BlockCases(), VisionCases(), AudioCases(), ModelCases(DType::kF32)}) {
    for (const ModuleCase& module : cases) ExpectSameInHalves(module, Device{}, DType::kF32);
  }
}

TEST(RecomputeTest, WhatForwardDoesNotKeepBackwardMakesAgainBitForBit) {
  for (const std::vector<ModuleCase>& cases :
       {BlockCases(), VisionCases(), AudioCases(), ModelCases(DType::kF32)}) {
    for (const ModuleCase& module : cases) ExpectSameRecomputed(module, Device{}, DType::kF32);
  }
}

INSTANTIATE_TEST_SUITE_P(Values, ModuleTest, ::testing::Values(DType::kF32, DType::kBF16),
                         DTypeName);

}  // namespace
}  // namespace hetero
