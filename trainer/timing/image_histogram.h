#ifndef HETERO_TRAINER_TIMING_IMAGE_HISTOGRAM_H_
#define HETERO_TRAINER_TIMING_IMAGE_HISTOGRAM_H_

// How large the images of a data set are, when the data set itself is elsewhere.

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {

// Samples with one image of a size, in pixels as the encoder reads it; of area 0 they have none.
struct ImageCount {
  ImageSize size;
  double count = 0;

  bool operator==(const ImageCount&) const = default;
};

// Of lines "height width count"; blank ones and those that begin with # are passed over.
// Errors: INVALID_ARGUMENT "source:line: ...".
absl::StatusOr<std::vector<ImageCount>> ParseImageHistogram(std::string_view text,
                                                            std::string_view source);

// Samples like these and how often they come; shares add up to 1.
struct SampleShare {
  SampleLimits limits;
  double share = 0;
};

// Errors: INVALID_ARGUMENT for an image that the model cannot take or that is larger than `limits`,
// those of the run, allow.
absl::StatusOr<std::vector<SampleShare>> SharesOf(const std::vector<ImageCount>& histogram,
                                                  const InputContract& contract,
                                                  const SampleLimits& limits);

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_IMAGE_HISTOGRAM_H_
