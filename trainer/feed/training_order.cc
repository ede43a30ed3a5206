#include "hetero/trainer/feed/training_order.h"

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/data/balance/rows_by_cost.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/data/blended_order.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/row_table.h"
#include "hetero/trainer/config/batch_schedule.h"

namespace hetero {
namespace {

using proto::RunConfig;

absl::StatusOr<data::SampleOrder> OrderOfRows(const RunConfig& config, int64_t num_lanes,
                                              std::shared_ptr<const data::RowTable> rows) {
  const auto seed = static_cast<uint64_t>(config.seed());
  if (!config.data().balance().language()) return data::SampleOrder::Packed(std::move(rows), seed);
  HETERO_ASSIGN_OR_RETURN(const data::SampleOrder numbers,
                          data::SampleOrder::Shuffled(rows->num_rows(), seed));
  data::BatchSchedule schedule = BatchScheduleOf(config);
  data::BatchLayout layout = {.global_batch_size = schedule.phases().back().batch_size,
                              .samples_per_microbatch = config.micro_batch_size() * num_lanes,
                              .schedule = std::move(schedule)};
  auto by_cost = std::make_shared<data::RowsByCost>(
      numbers, data::AttentionCosts(*rows, config.sequence_length()), std::move(layout));
  return data::SampleOrder::Packed(std::move(rows), std::move(by_cost));
}

absl::StatusOr<TrainingOrder> PackRows(const RunConfig& config, const InputContract& contract,
                                       int64_t num_lanes, data::SampleSource& source,
                                       const data::LongWork& work) {
  absl::StatusOr<data::RowPlan> plan =
      data::PlanRows(source, RowPlanOptionsOf(config, contract), work);
  HETERO_RETURN_IF_ERROR(plan.status());
  std::string description =
      absl::StrFormat(", %s in %s, %.1f %% full%s", Counted(source.size(), "sample"),
                      Counted(plan->rows->num_rows(), "row"), 100 * plan->fill_rate,
                      config.data().balance().language() ? ", microbatches by cost" : "");
  HETERO_ASSIGN_OR_RETURN(data::SampleOrder order,
                          OrderOfRows(config, num_lanes, std::move(plan->rows)));
  return TrainingOrder{
      .order = std::move(order), .lanes = nullptr, .description = std::move(description)};
}

absl::StatusOr<TrainingOrder> OfLoaders(const RunConfig& config, int64_t num_lanes,
                                        const std::shared_ptr<const data::OpenedBlend>& blend,
                                        int64_t num_samples) {
  const proto::EnergonOrder& settings = config.data().energon_order();
  data::LoaderOptions options = {
      .splits = blend->splits,
      .mode = blend->mode,
      .shape = {.num_ranks = num_lanes, .num_workers = settings.num_workers()},
      .shuffle_buffer_size = settings.shuffle_buffer_size(),
      .batch_size = config.micro_batch_size()};
  if (settings.has_max_samples_per_sequence()) {
    options.max_samples_per_sequence = settings.max_samples_per_sequence();
  }
  HETERO_ASSIGN_OR_RETURN(std::shared_ptr<const data::LoaderPlan> plan,
                          data::LoaderPlan::Make(std::move(options)));
  auto lanes = std::make_shared<data::LaneOrder>(
      std::move(plan),
      [blend](const data::SampleReference& sample) { return blend->IndexOf(sample); });
  return TrainingOrder{.order = data::SampleOrder::Following(lanes, num_samples),
                       .lanes = lanes,
                       .description = absl::StrFormat(
                           ", in the order of Megatron-Energon's loader, %s of %s",
                           Counted(num_lanes, "lane"), Counted(settings.num_workers(), "worker"))};
}

// A round of repetitions has each data set so many times, rounded down.
absl::StatusOr<TrainingOrder> Blend(const data::OpenedBlend& blend, uint64_t seed,
                                    int64_t num_samples) {
  std::vector<double> shares;
  for (const data::BlendedSplit& split : blend.splits) shares.push_back(split.share);
  std::vector<int64_t> counts;
  double sum = 0;
  for (const double share : shares) sum += share;
  if (sum > 0 && blend.mode == data::BlendMode::kWeights) counts = data::RoundOfWeights(shares);
  std::vector<data::BlendedPart> parts;
  int64_t round = 0;
  for (size_t k = 0; k < shares.size(); ++k) {
    const int64_t size = blend.parts[k].samples().count;
    const int64_t count =
        counts.empty() ? static_cast<int64_t>(std::floor(static_cast<double>(size) * shares[k]))
                       : counts[k];
    parts.push_back({.num_samples = size, .per_round = count});
    round += count;
  }
  if (round == 0) {
    return absl::InvalidArgumentError("no data set of the metadataset has a share of the samples");
  }
  return TrainingOrder{.order = data::SampleOrder::Following(
                           std::make_shared<data::BlendedOrder>(parts, seed), num_samples),
                       .lanes = nullptr,
                       .description = {}};
}

}  // namespace

absl::StatusOr<TrainingOrder> MakeTrainingOrder(
    const RunConfig& config, const InputContract& contract, int64_t num_lanes,
    const std::shared_ptr<const data::OpenedBlend>& blend, data::SampleSource& source,
    const data::LongWork& work) {
  const bool is_blend = blend->mode != data::BlendMode::kNone;
  if (config.data().has_packing()) {
    if (is_blend) {
      return absl::InvalidArgumentError(
          "data.packing is set, and training samples come from several data sets by their shares; "
          "rows are packed of one; remove it");
    }
    absl::StatusOr<TrainingOrder> rows = PackRows(config, contract, num_lanes, source, work);
    HETERO_RETURN_IF_ERROR(rows.status()).With("data.packing");
    return rows;
  }
  if (config.data().has_energon_order()) {
    absl::StatusOr<TrainingOrder> lanes = OfLoaders(config, num_lanes, blend, source.size());
    HETERO_RETURN_IF_ERROR(lanes.status()).With("data.energon_order");
    return lanes;
  }
  const auto seed = static_cast<uint64_t>(config.seed());
  if (is_blend) return Blend(*blend, seed, source.size());
  HETERO_ASSIGN_OR_RETURN(data::SampleOrder order,
                          data::SampleOrder::Shuffled(source.size(), seed));
  return TrainingOrder{.order = std::move(order), .lanes = nullptr, .description = {}};
}

}  // namespace hetero
