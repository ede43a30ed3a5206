#ifndef HETERO_MODELS_TESTING_MODULE_CASES_H_
#define HETERO_MODELS_TESTING_MODULE_CASES_H_

// Every module with a forward and a backward, small and with all that it can do: packed sequences,
// images and clips of several sizes, experts with a shared one. For comparisons of devices and
// types.

#include <vector>

#include "hetero/models/testing/module_rig.h"

namespace hetero {

std::vector<ModuleCase> BlockCases();   // attention, Mamba, MLP, experts
std::vector<ModuleCase> VisionCases();  // encoder layer, encoder, projectors
std::vector<ModuleCase> AudioCases();   // encoder
// The language model and the vision-language model, whose experts depend on the type.
std::vector<ModuleCase> ModelCases(DType storage);

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_MODULE_CASES_H_
