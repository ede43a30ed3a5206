#ifndef HETERO_TRAINER_BATCH_RULES_H_
#define HETERO_TRAINER_BATCH_RULES_H_

// Rules of a run's batches: whole microbatches, as many as a step's program can list, of no more
// tokens than 32 bits count.

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

  std::string MicroField() const;
  std::string GlobalField() const;
};

BatchSizes TrainingBatch(const proto::RunConfig& config);
BatchSizes EvaluationBatch(const proto::RunConfig& config);

// What the lanes of the grids break: each grid's must divide a microbatch. Judges sizes that are
// sound in `known` and grids that stand on their own.
std::vector<Violation> CheckLanes(const proto::RunConfig& config, const Violations& known);

// Adds what the rules above find, likewise.
void CheckBatches(const proto::RunConfig& config, Violations& violations);

}  // namespace hetero

#endif  // HETERO_TRAINER_BATCH_RULES_H_
