#include <utility>

#include "hetero/tools/bench/cases.h"

namespace hetero::bench {

std::vector<Case> AllCases(const Sizes& sizes) {
  std::vector<Case> all;
  for (const auto& part :
       {SliceCases, LayerCases, LanguageCases, ExpertCases, VisionCases, OptimizerCases}) {
    for (Case& one : part(sizes)) all.push_back(std::move(one));
  }
  return all;
}

}  // namespace hetero::bench
