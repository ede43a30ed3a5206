#include "hetero/trainer/feed/open_splits.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/webdataset/prepare_command.h"

namespace hetero {
namespace {

using proto::RunConfig;

struct OpenSplit {
  std::shared_ptr<const data::Dataset> dataset;
  std::unique_ptr<data::SampleSource> source;
};

absl::StatusOr<OpenSplit> Open(const NamedSplit& named, const SampleReading& reading,
                               const data::LongWork& work) {
  absl::StatusOr<std::shared_ptr<const data::Dataset>> dataset =
      data::Dataset::Open(named.folder, named.split, work, reading.with_headers);
  HETERO_RETURN_IF_ERROR(data::WithPrepareCommand(dataset.status(), named.folder))
      .With(named.field);
  absl::StatusOr<std::unique_ptr<data::SampleSource>> source = reading.open(*dataset);
  HETERO_RETURN_IF_ERROR(source.status()).With(named.field);
  return OpenSplit{.dataset = *std::move(dataset), .source = *std::move(source)};
}

SampleSet SamplesOf(std::shared_ptr<const data::Dataset> dataset, data::SampleOrder order,
                    const SampleReading& reading) {
  return {.order = std::move(order),
          .open = [dataset = std::move(dataset), open = reading.open]() { return open(dataset); }};
}

struct TrainingOrder {
  data::SampleOrder order;  // of samples, or of the rows that they share
  std::string description;  // of the rows
};

absl::StatusOr<TrainingOrder> MakeTrainingOrder(const RunConfig& config,
                                                const InputContract& contract,
                                                data::SampleSource& source,
                                                const data::LongWork& work) {
  const auto seed = static_cast<uint64_t>(config.seed());
  if (!config.data().has_packing()) {
    HETERO_ASSIGN_OR_RETURN(const data::SampleOrder order,
                            data::SampleOrder::Shuffled(source.size(), seed));
    return TrainingOrder{.order = order, .description = {}};
  }
  absl::StatusOr<data::RowPlan> plan =
      data::PlanRows(source, RowPlanOptionsOf(config, contract), work);
  HETERO_RETURN_IF_ERROR(plan.status()).With("data.packing");
  std::string description =
      absl::StrFormat(", %s in %s, %.1f %% full", Counted(source.size(), "sample"),
                      Counted(plan->rows->num_rows(), "row"), 100 * plan->fill_rate);
  HETERO_ASSIGN_OR_RETURN(const data::SampleOrder order,
                          data::SampleOrder::Packed(std::move(plan->rows), seed));
  return TrainingOrder{.order = order, .description = std::move(description)};
}

}  // namespace

absl::StatusOr<RunSamples> OpenSplits(const RunConfig& config, const InputContract& contract,
                                      const NamedSplit& train, const NamedSplit& evaluation,
                                      const SampleReading& reading, const data::LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(OpenSplit training, Open(train, reading, work));
  HETERO_ASSIGN_OR_RETURN(TrainingOrder order,
                          MakeTrainingOrder(config, contract, *training.source, work));
  RunSamples samples = {.train = SamplesOf(std::move(training.dataset), order.order, reading),
                        .evaluation = std::nullopt,
                        .description = std::move(order.description)};
  if (!config.has_evaluation()) return samples;
  HETERO_ASSIGN_OR_RETURN(OpenSplit evaluating, Open(evaluation, reading, work));
  HETERO_ASSIGN_OR_RETURN(const data::SampleOrder once,
                          data::SampleOrder::OnePass(evaluating.source->size()));
  samples.evaluation = SamplesOf(std::move(evaluating.dataset), once, reading);
  return samples;
}

}  // namespace hetero
