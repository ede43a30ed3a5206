#include "hetero/trainer/report/step_work.h"

#include <optional>
#include <string>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<StepWorkCounter>> StepWorkCounter::Create(
    const Model& model, const SampleSet& samples, int64_t sequence_length,
    int64_t global_batch_size) {
  std::unique_ptr<StepWorkCounter> counter(
      new StepWorkCounter(model, samples, sequence_length, global_batch_size));
  HETERO_ASSIGN_OR_RETURN(counter->source_, samples.open());
  return counter;
}

absl::StatusOr<StepWork> StepWorkCounter::Of(int64_t step) {
  StepWork work;
  for (const std::string& module : model_.graph().ModuleNames()) work.flops.push_back({module, 0});
  for (int64_t i = 0; i < global_batch_size_; ++i) {
    const std::optional<int64_t> index = order_.DatasetIndex(step * global_batch_size_ + i);
    if (!index.has_value()) break;
    SampleFacts facts{.row_length = sequence_length_,
                      .modalities = std::vector<ModalityFacts>(model_.graph().modalities.size())};
    HETERO_RETURN_IF_ERROR(source_->ReadFacts(*index, facts));
    work.tokens += static_cast<double>(facts.row_length);
    for (NamedValue& flops : work.flops) flops.value += model_.FlopsOf(flops.name, facts).training;
  }
  return work;
}

}  // namespace hetero
