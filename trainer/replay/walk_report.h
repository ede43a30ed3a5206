#ifndef HETERO_TRAINER_REPLAY_WALK_REPORT_H_
#define HETERO_TRAINER_REPLAY_WALK_REPORT_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/layout.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/replay/step_walk.h"
#include "hetero/trainer/report/step_samples.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// What a walk through step `step` has shown, `walks` by rank and `samples` in their order:
//   iteration 4, microbatch by microbatch:
//     microbatch 0, lane 0: lm loss 6.2413, the largest; mock/16, mock/17
//     microbatch 1, lane 0: lm loss nan; mock/18, mock/19
//   first infinite or NaN: the output of radio_encoder.0 at the layer of blocks.0.norm1.weight,
//   microbatch 1, rank 0
// Errors: those of MakeTable.
absl::StatusOr<std::string> DescribeWalk(const Model& model, const Layout& layout,
                                         const StepPlan& plan, int64_t step,
                                         std::span<const StepWalk* const> walks,
                                         const std::vector<SampleOfStep>& samples);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPLAY_WALK_REPORT_H_
