#ifndef HETERO_TRAINER_STEP_STAGE_FEED_H_
#define HETERO_TRAINER_STEP_STAGE_FEED_H_

// What a stage of a plan reads of the run's samples.

#include <cstdint>
#include <optional>

#include "hetero/grid/layout.h"
#include "hetero/grid/rank.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// On `rank`, which has stage `stage`. `model` outlives the result. What the run's data is, its
// limits and its device stay unset.
BatchFeedOptions StageFeed(const Layout& layout, const Model& model, const StepPlan& plan,
                           int stage, GlobalRank rank, int64_t sequence_length);

// How the images of `plan` are shared out; unset where they are not. `model` outlives the result.
std::optional<BalancedMedia> BalanceOf(const Layout& layout, const Model& model,
                                       const StepPlan& plan);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_STAGE_FEED_H_
