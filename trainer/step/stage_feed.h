#ifndef HETERO_TRAINER_STEP_STAGE_FEED_H_
#define HETERO_TRAINER_STEP_STAGE_FEED_H_

// What a stage of a plan reads of the run's samples.

#include <cstdint>

#include "hetero/grid/layout.h"
#include "hetero/grid/rank.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// On `rank`, which has stage `stage`. What the run's data is, its limits and its device stay unset.
BatchFeedOptions StageFeed(const Layout& layout, const ModelGraph& graph, const StepPlan& plan,
                           int stage, GlobalRank rank, int64_t sequence_length);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_STAGE_FEED_H_
