#include "hetero/trainer/feed/counted_facts.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/trainer/feed/checked_facts.h"

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

}  // namespace

CountedFacts::CountedFacts(std::shared_ptr<const BatchFeedOptions> options,
                           std::unique_ptr<data::SampleSource> source,
                           std::shared_ptr<MediaShares> shares)
    : options_(std::move(options)),
      source_(std::move(source)),
      shares_(std::move(shares)),
      microbatches_(options_->batch.NumMicrobatches()) {
  if (shares_ != nullptr) return;
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
  if (shares_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(const MicrobatchShares* const shares, Shares(step, microbatch));
    return std::span(shares->samples).subspan(range.begin, range.size);
  }
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

absl::StatusOr<const MicrobatchShares*> CountedFacts::Shares(int64_t step, int microbatch) {
  if (shares_ == nullptr) return nullptr;
  Microbatch& facts = microbatches_.at(microbatch);
  if (facts.shares == nullptr || facts.step != step) {
    HETERO_ASSIGN_OR_RETURN(facts.shares, shares_->Of(step));
    facts.step = step;
  }
  return &facts.shares->microbatches.at(microbatch);
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
