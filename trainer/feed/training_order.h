#ifndef HETERO_TRAINER_FEED_TRAINING_ORDER_H_
#define HETERO_TRAINER_FEED_TRAINING_ORDER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "hetero/data/energon/lane_order.h"
#include "hetero/data/energon/open_blend.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

struct TrainingOrder {
  data::SampleOrder order;                 // of samples, or of the rows that they share
  std::shared_ptr<data::LaneOrder> lanes;  // the same, where data.energon_order is set
  std::string description;                 // of either
};

// The order in which a run takes the samples of `source`, which are those of `blend`: shuffled by
// the run's seed, of several data sets by their shares; in packed rows, those of each step by cost
// where that is wanted; or as the loaders of `num_lanes` lanes have them.
// Errors: those of data::PlanRows and data::LoaderPlan, naming the field; INVALID_ARGUMENT for rows
// of data sets with shares, and for shares that are all 0.
absl::StatusOr<TrainingOrder> MakeTrainingOrder(
    const proto::RunConfig& config, const InputContract& contract, int64_t num_lanes,
    const std::shared_ptr<const data::OpenedBlend>& blend, data::SampleSource& source,
    const data::LongWork& work);

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_TRAINING_ORDER_H_
