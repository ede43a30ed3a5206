#include "hetero/trainer/feed/checked_facts.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/batch_builder.h"

namespace hetero {
namespace {

// Of the sample at `place` of the run's order.
absl::Status CheckLimits(const BatchFeedOptions& options, int64_t place,
                         const SampleFacts& sample) {
  for (size_t m = 0; m < options.modalities.size(); ++m) {
    const int64_t tokens = sample.modalities[m].num_tokens;
    const int64_t most = options.limits.modalities[m].max_tokens;
    if (tokens <= most) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("sample ", *options.samples->order.DatasetIndex(place),
                     " of the data set has ", options.modalities[m].name, " data of ", tokens,
                     " tokens, the run is sized for ", most, " a sample"));
  }
  return absl::OkStatus();
}

}  // namespace

SampleFacts LargestSample(const BatchFeedOptions& options, int64_t sample) {
  const TokenOwner owner = options.owner();
  SampleFacts largest = LargestSample(options.sequence_length, options.limits);
  for (ModalityFacts& facts : largest.modalities) {
    if (facts.num_tokens > 0) facts.runs = {owner.MostOwned(sample, facts.num_tokens)};
  }
  return largest;
}

absl::Status ReadCheckedFacts(const BatchFeedOptions& options, data::SampleSource& source,
                              data::SampleRange range, std::vector<SampleFacts>& facts) {
  HETERO_RETURN_IF_ERROR(data::ReadFacts(source, options.samples->order, range,
                                         options.sequence_length,
                                         static_cast<int>(options.modalities.size()), facts));
  for (int64_t i = 0; i < range.size; ++i) {
    HETERO_RETURN_IF_ERROR(CheckLimits(options, range.begin + i, facts[i]));
  }
  return absl::OkStatus();
}

}  // namespace hetero
