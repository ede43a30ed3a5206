#ifndef HETERO_TOOLS_BENCH_CASES_H_
#define HETERO_TOOLS_BENCH_CASES_H_

#include <vector>

#include "hetero/comm/communicator.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/tools/bench/case.h"
#include "hetero/tools/bench/sizes.h"

namespace hetero::bench {

// A whole model, its layers, then single operations.
std::vector<Case> AllCases(const Sizes& sizes);

// Who shares a layer: this rank's place and, where there are others, the communicators, which
// outlive the work.
struct LayerRanks {
  ShardSpec shard;
  Communicator* tensor_parallel = nullptr;
  Communicator* expert_parallel = nullptr;
  Communicator* data_parallel = nullptr;
};

// One rank's part of the layers that ranks share. Tensor-parallel ranks divide the tokens, expert-
// parallel ones have as many each and as many experts as the sizes say.
std::vector<Case> SharedLayerCases(const Sizes& sizes, const LayerRanks& ranks);

// A few layers of data-parallel ranks: forward and backward with the sums of their gradients, and
// forward with the gathers of their parameters. Precondition: ranks.data_parallel.
std::vector<Case> TrafficCases(const Sizes& sizes, const LayerRanks& ranks);

// The parts of AllCases.
std::vector<Case> SliceCases(const Sizes& sizes);
std::vector<Case> LayerCases(const Sizes& sizes);
std::vector<Case> LanguageCases(const Sizes& sizes);
std::vector<Case> ExpertCases(const Sizes& sizes);
std::vector<Case> VisionCases(const Sizes& sizes);
std::vector<Case> OptimizerCases(const Sizes& sizes);

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_CASES_H_
