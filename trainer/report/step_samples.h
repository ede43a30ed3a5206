#ifndef HETERO_TRAINER_REPORT_STEP_SAMPLES_H_
#define HETERO_TRAINER_REPORT_STEP_SAMPLES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {

struct SampleOfStep {
  int64_t microbatch = 0;
  int64_t lane = 0;   // of the module that owns the samples
  int64_t index = 0;  // in the data set
  std::string name;   // "shard/key"; of made-up samples what their source says
};

// Which samples a step has, and who works on them.
class StepSamples {
 public:
  // Errors: those of opening the source. Precondition: lanes divide the samples of a microbatch.
  static absl::StatusOr<std::unique_ptr<StepSamples>> Create(const SampleSet& samples,
                                                             const data::BatchLayout& batch,
                                                             int64_t num_lanes);

  // In their order; of a row that several share, each. Errors: those of the source.
  absl::StatusOr<std::vector<SampleOfStep>> Of(int64_t step);

 private:
  StepSamples(data::SampleOrder order, const data::BatchLayout& batch, int64_t num_lanes)
      : order_(std::move(order)), batch_(batch), num_lanes_(num_lanes) {}

  const data::SampleOrder order_;
  const data::BatchLayout batch_;
  const int64_t num_lanes_;
  std::unique_ptr<data::SampleSource> source_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_STEP_SAMPLES_H_
