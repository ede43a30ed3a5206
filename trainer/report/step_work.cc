#include "hetero/trainer/report/step_work.h"

#include <string>

#include "hetero/base/status.h"
#include "hetero/data/batch_builder.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<StepWorkCounter>> StepWorkCounter::Create(
    const Model& model, const SampleSet& samples, int64_t sequence_length,
    const data::BatchSchedule& batches) {
  std::unique_ptr<StepWorkCounter> counter(
      new StepWorkCounter(model, samples, sequence_length, batches));
  HETERO_ASSIGN_OR_RETURN(counter->source_, samples.open());
  return counter;
}

absl::StatusOr<StepWork> StepWorkCounter::Of(int64_t step) {
  const ModelGraph& graph = model_.graph();
  HETERO_RETURN_IF_ERROR(
      data::ReadFacts(*source_, order_, {batches_.FirstSample(step), batches_.SizeOf(step)},
                      sequence_length_, static_cast<int>(graph.modalities.size()), facts_));
  StepWork work;
  for (const std::string& module : graph.ModuleNames()) work.flops.push_back({module, 0});
  for (const SampleFacts& row : facts_) {
    work.tokens += static_cast<double>(row.row_length);
    for (NamedValue& flops : work.flops) flops.value += model_.FlopsOf(flops.name, row).training;
  }
  return work;
}

}  // namespace hetero
