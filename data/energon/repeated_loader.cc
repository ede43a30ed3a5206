#include "hetero/data/energon/repeated_loader.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"

namespace hetero::data {

RepeatedLoader::RepeatedLoader(SliceLoader loader, std::optional<double> repetitions,
                               const RepeatedLoaderState& state)
    : loader_(std::move(loader)),
      repetitions_(repetitions),
      num_repetitions_(state.num_repetitions),
      num_samples_(state.num_samples) {}

absl::Status RepeatedLoader::Check(std::optional<double> repetitions,
                                   const RepeatedLoaderState& state) {
  const bool fits =
      state.num_samples >= 0 && state.num_repetitions >= 0 &&
      (!repetitions.has_value() || static_cast<double>(state.num_repetitions) < *repetitions);
  if (fits) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat("%d repetitions and %d samples are no part of a pass",
                                             state.num_repetitions, state.num_samples));
}

int64_t RepeatedLoader::NumLastSamples(const WorkerSlices& slices, double repetitions) {
  const double fraction = repetitions - std::floor(repetitions);
  return static_cast<int64_t>(static_cast<double>(slices.num_samples()) * fraction);
}

RepeatedLoaderState RepeatedLoader::state() const {
  return {
      .slices = loader_.state(), .num_repetitions = num_repetitions_, .num_samples = num_samples_};
}

std::optional<int64_t> RepeatedLoader::Next() {
  if (!repetitions_.has_value()) {
    std::optional<int64_t> sample = loader_.Next();
    while (!sample.has_value()) sample = loader_.Next();
    return sample;
  }
  while (static_cast<double>(num_repetitions_) < *repetitions_) {
    const bool is_cut = static_cast<double>(num_repetitions_) == std::floor(*repetitions_);
    if (is_cut && num_samples_ >= NumLastSamples(loader_.slices(), *repetitions_)) break;
    if (const std::optional<int64_t> sample = loader_.Next(); sample.has_value()) {
      ++num_samples_;
      return sample;
    }
    ++num_repetitions_;
    num_samples_ = 0;
  }
  num_repetitions_ = 0;
  num_samples_ = 0;
  return std::nullopt;
}

}  // namespace hetero::data
