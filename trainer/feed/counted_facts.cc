#include "hetero/trainer/feed/counted_facts.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/batch_builder.h"

namespace hetero {
namespace {

// Of all samples in `ranges`.
std::vector<data::SampleRange> Join(std::vector<data::SampleRange> ranges) {
  std::ranges::sort(ranges, {}, &data::SampleRange::begin);
  std::vector<data::SampleRange> joined;
  for (const data::SampleRange& range : ranges) {
    if (joined.empty() || range.begin > joined.back().begin + joined.back().size) {
      joined.push_back(range);
      continue;
    }
    const int64_t end =
        std::max(joined.back().begin + joined.back().size, range.begin + range.size);
    joined.back().size = end - joined.back().begin;
  }
  return joined;
}

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

CountedFacts::CountedFacts(std::shared_ptr<const BatchFeedOptions> options,
                           std::unique_ptr<data::SampleSource> source)
    : options_(std::move(options)),
      source_(std::move(source)),
      microbatches_(options_->batch.NumMicrobatches()) {
  counted_ = options_->counted;
  counted_.push_back(options_->lane_samples());
  counted_ = Join(std::move(counted_));
  for (Microbatch& microbatch : microbatches_) {
    for (const data::SampleRange& range : counted_) {
      std::vector<SampleFacts>& samples = microbatch.samples.emplace_back();
      for (int64_t i = 0; i < range.size; ++i) {
        samples.push_back(LargestSample(*options_, range.begin + i));
      }
    }
  }
}

absl::StatusOr<std::span<const SampleFacts>> CountedFacts::Of(int64_t step, int microbatch,
                                                              data::SampleRange range) {
  Microbatch& facts = microbatches_.at(microbatch);
  if (source_ != nullptr && facts.step != step) {
    facts.step = -1;
    HETERO_RETURN_IF_ERROR(Read(step, microbatch, facts))
        .With(absl::StrCat("microbatch ", microbatch));
    facts.step = step;
  }
  // Counted ranges are joined: one of them has all of `range`.
  for (size_t i = 0; i < counted_.size(); ++i) {
    const int64_t first = range.begin - counted_[i].begin;
    if (first < 0 || first + range.size > counted_[i].size) continue;
    return std::span(facts.samples[i]).subspan(first, range.size);
  }
  return absl::InternalError(absl::StrCat("samples [", range.begin, ", ", range.begin + range.size,
                                          ") of a microbatch are not counted"));
}

absl::Status CountedFacts::Read(int64_t step, int microbatch, Microbatch& facts) {
  const int64_t first = data::MicrobatchSamples(options_->batch, step, microbatch).begin;
  for (size_t i = 0; i < counted_.size(); ++i) {
    HETERO_RETURN_IF_ERROR(ReadCheckedFacts(
        *options_, *source_, {first + counted_[i].begin, counted_[i].size}, facts.samples[i]));
  }
  return absl::OkStatus();
}

}  // namespace hetero
