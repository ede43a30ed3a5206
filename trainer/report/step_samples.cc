#include "hetero/trainer/report/step_samples.h"

#include "hetero/base/status.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<StepSamples>> StepSamples::Create(const SampleSet& samples,
                                                                 const data::BatchLayout& batch,
                                                                 int64_t num_lanes) {
  std::unique_ptr<StepSamples> made(new StepSamples(samples.order, batch, num_lanes));
  HETERO_ASSIGN_OR_RETURN(made->source_, samples.open());
  return made;
}

absl::StatusOr<std::vector<SampleOfStep>> StepSamples::Of(int64_t step) {
  std::vector<SampleOfStep> found;
  const int64_t of_microbatch = batch_.samples_per_microbatch;
  data::LanguageSample sample;
  const int64_t first = batch_.FirstSample(step);
  for (int64_t row = 0; row < batch_.SizeOf(step); ++row) {
    const data::RowSamples samples = order_.RowAt(first + row);
    for (size_t k = 0; k < samples.size(); ++k) {
      HETERO_RETURN_IF_ERROR(source_->ReadLanguage(samples[k].index, sample));
      found.push_back({.microbatch = row / of_microbatch,
                       .lane = row % of_microbatch / (of_microbatch / num_lanes_),
                       .index = samples[k].index,
                       .name = sample.name});
    }
  }
  return found;
}

}  // namespace hetero
