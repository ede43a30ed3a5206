#ifndef HETERO_TOOLS_PLAN_SPLITS_H_
#define HETERO_TOOLS_PLAN_SPLITS_H_

// The ways in which a recipe can be laid out over a number of ranks.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

struct RecipeSplit {
  proto::RunConfig config;
  std::string name;  // "radio_encoder 0-1 dp 2, language 2-3 tp 2 ep 2"
};

// `recipe` on `num_ranks` ranks in every way that its rules allow: all modules on all ranks, or
// each on ranks of its own, in the recipe's order; a module divided by tp and pp, and by ep where
// it has experts. Batch sizes and all else are the recipe's, but pipeline_chunks is 1 where its
// rules want it.
// Errors: those of making the model; INVALID_ARGUMENT when no split is legal, with the rule that
// the last one breaks.
absl::StatusOr<std::vector<RecipeSplit>> LegalSplits(const proto::RunConfig& recipe,
                                                     int64_t num_ranks,
                                                     const ModelRegistry& models);

}  // namespace hetero

#endif  // HETERO_TOOLS_PLAN_SPLITS_H_
