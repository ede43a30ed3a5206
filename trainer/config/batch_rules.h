#ifndef HETERO_TRAINER_CONFIG_BATCH_RULES_H_
#define HETERO_TRAINER_CONFIG_BATCH_RULES_H_

// Rules of a run's batches: whole microbatches, as many as a step's program can list, of no more
// tokens than 32 bits count.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/base/violation.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Of training or, with "evaluation.", of evaluation, where a size that is not set is training's.
struct BatchSizes {
  std::string_view prefix;  // of the fields' names; empty for training
  int64_t micro = 0;
  int64_t global = 0;
  // Of training: batch_size_schedule and which of its entries has the size; empty: it is a field.
  std::string_view schedule = {};
  size_t entry = 0;

  std::string MicroField() const;
  std::string GlobalField() const;

  // What makes the size another one.
  Assignment WithGlobal(int64_t size) const;
};

BatchSizes EvaluationBatch(const proto::RunConfig& config);

// Training's, of a schedule all, and evaluation's where they differ: those whose sizes `known` has
// nothing against.
std::vector<BatchSizes> SoundBatches(const proto::RunConfig& config, const Violations& known);

// Of both: `sample_owner` is the module whose lanes have micro_batch_size samples each. Judged are
// sizes that are sound so far and grids that stand on their own.

// What the lanes of the grids break: each grid's must divide a microbatch.
std::vector<Violation> CheckLanes(const proto::RunConfig& config, std::string_view sample_owner,
                                  const Violations& known);

// Adds what batches break by themselves: whole microbatches, not too many, not too many tokens.
void CheckBatches(const proto::RunConfig& config, std::string_view sample_owner,
                  Violations& violations);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_BATCH_RULES_H_
