#ifndef HETERO_TOOLS_BENCH_CASES_H_
#define HETERO_TOOLS_BENCH_CASES_H_

#include <vector>

#include "hetero/tools/bench/case.h"
#include "hetero/tools/bench/sizes.h"

namespace hetero::bench {

// Whole layers, then single operations.
std::vector<Case> AllCases(const Sizes& sizes);

// The parts of it.
std::vector<Case> LayerCases(const Sizes& sizes);
std::vector<Case> LanguageCases(const Sizes& sizes);
std::vector<Case> ExpertCases(const Sizes& sizes);
std::vector<Case> VisionCases(const Sizes& sizes);
std::vector<Case> OptimizerCases(const Sizes& sizes);

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_CASES_H_
