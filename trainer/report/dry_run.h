#ifndef HETERO_TRAINER_REPORT_DRY_RUN_H_
#define HETERO_TRAINER_REPORT_DRY_RUN_H_

// What a dry run prints: the plan, what one rank of each class needs, and what was proved.

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "hetero/comm/connections.h"
#include "hetero/grid/layout.h"
#include "hetero/models/stage.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/work_classes.h"

namespace hetero {

// What was found by running a step of the first rank of a class on shapes.
struct ClassPrediction {
  WorkClass ranks;
  const MemoryLedger* memory = nullptr;
  const CallLedger* calls = nullptr;  // of one training step
  // Both without selective_recompute, which may change nothing on these ranks; null where the run
  // has none.
  const MemoryLedger* memory_keeping_everything = nullptr;
  const CallLedger* calls_keeping_everything = nullptr;
  Connections connections;
  int64_t save_bytes = 0;  // of host memory that checkpoints take beside `memory`
};

// Of each module how many parameters it has, of these experts', used by a token and trained, and
// its operations by definition over samples like `largest`: the same in every layout; and how many
// parameters a rank holds at most. Then the operations of a step of all modules. Errors: those of
// MakeTable and CountRankParameters.
absl::StatusOr<std::string> DescribeModules(const Model& model, const Layout& layout,
                                            const StepPlan& plan, const SampleFacts& largest);

// "rank 2 (language.0) x 16", then memory by label, what selective_recompute saves and costs, what
// its kernels compute in a step by kind, and its collectives.
std::string DescribePrediction(const StepPlan& plan, const ClassPrediction& prediction);

// What memory the ranks need together, and what MakePlan and the runs on shapes have shown: nothing
// else is claimed. `evaluation`: null where the run has none. Precondition: there is a prediction.
std::string DescribeProof(const StepPlan& plan, std::span<const StepPlan> smaller,
                          const StepPlan* evaluation, std::span<const ClassPrediction> predictions);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_DRY_RUN_H_
