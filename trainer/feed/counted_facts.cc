#include "hetero/trainer/feed/counted_facts.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/source.h"
#include "hetero/trainer/feed/checked_facts.h"

namespace hetero {
namespace {

// Microbatches beside those of a step, which are all kept.
constexpr int64_t kReadAhead = 2;

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

CountedFacts::CountedFacts(std::shared_ptr<const BatchFeedOptions> options)
    : options_(std::move(options)), microbatches_(options_->batch.NumMicrobatches()) {
  counted_ = options_->counted;
  counted_.push_back(options_->lane_samples());
  counted_ = Join(std::move(counted_));
}

CountedFacts CountedFacts::OfLargest(std::shared_ptr<const BatchFeedOptions> options) {
  CountedFacts facts(std::move(options));
  for (const data::SampleRange& range : facts.counted_) {
    std::vector<SampleFacts>& samples = facts.largest_.samples.emplace_back();
    for (int64_t i = 0; i < range.size; ++i) {
      samples.push_back(LargestSample(*facts.options_, range.begin + i));
    }
  }
  return facts;
}

absl::StatusOr<CountedFacts> CountedFacts::Create(std::shared_ptr<const BatchFeedOptions> options,
                                                  std::shared_ptr<MediaShares> shares,
                                                  LoaderWatch& watch) {
  CountedFacts facts(options);
  facts.watch_ = &watch;
  facts.has_shares_ = shares != nullptr;
  std::unique_ptr<data::SampleSource> source;
  if (shares == nullptr) {
    HETERO_ASSIGN_OR_RETURN(source, watch.Open());
  }
  auto read = [options, shares = std::move(shares), source = std::move(source),
               counted = facts.counted_](int64_t n, Facts& out) -> absl::Status {
    const data::BatchLayout& batch = options->batch;
    const int64_t first = n * batch.samples_per_microbatch;
    if (shares != nullptr) {
      HETERO_ASSIGN_OR_RETURN(out.shares, shares->Of(batch.StepOf(first)));
      return absl::OkStatus();
    }
    out.samples.resize(counted.size());
    for (size_t i = 0; i < counted.size(); ++i) {
      HETERO_RETURN_IF_ERROR(ReadCheckedFacts(
          *options, *source, {first + counted[i].begin, counted[i].size}, out.samples[i]));
    }
    return absl::OkStatus();
  };
  std::vector<Facts> ring(static_cast<size_t>(options->batch.NumMicrobatches() + kReadAhead));
  HETERO_ASSIGN_OR_RETURN(facts.prefetcher_,
                          data::Prefetcher<Facts>::Create(std::move(ring), std::move(read)));
  return facts;
}

absl::StatusOr<const CountedFacts::Facts*> CountedFacts::Read(int64_t step, int microbatch) {
  if (prefetcher_ == nullptr) return &largest_;
  Microbatch& kept = microbatches_.at(microbatch);
  if (kept.step != step) {
    kept.step = -1;
    kept.facts = nullptr;
    const data::BatchLayout& batch = options_->batch;
    const int64_t n = batch.FirstSample(step) / batch.samples_per_microbatch + microbatch;
    absl::StatusOr<data::BatchLease<Facts>> facts =
        prefetcher_->Take(n, watch_->check(), watch_->tick());
    HETERO_RETURN_IF_ERROR(facts.status()).With(absl::StrCat("microbatch ", microbatch));
    kept.facts = *std::move(facts);
    kept.step = step;
  }
  return kept.facts.get();
}

absl::StatusOr<std::span<const SampleFacts>> CountedFacts::Of(int64_t step, int microbatch,
                                                              data::SampleRange range) {
  HETERO_ASSIGN_OR_RETURN(const Facts* const facts, Read(step, microbatch));
  if (has_shares_) {
    return std::span(facts->shares->microbatches.at(microbatch).samples)
        .subspan(range.begin, range.size);
  }
  // Counted ranges are joined: one of them has all of `range`.
  for (size_t i = 0; i < counted_.size(); ++i) {
    const int64_t first = range.begin - counted_[i].begin;
    if (first < 0 || first + range.size > counted_[i].size) continue;
    return std::span(facts->samples[i]).subspan(first, range.size);
  }
  return absl::InternalError(absl::StrCat("samples [", range.begin, ", ", range.begin + range.size,
                                          ") of a microbatch are not counted"));
}

absl::StatusOr<const MicrobatchShares*> CountedFacts::Shares(int64_t step, int microbatch) {
  if (!has_shares_) return nullptr;
  HETERO_ASSIGN_OR_RETURN(const Facts* const facts, Read(step, microbatch));
  return &facts->shares->microbatches.at(microbatch);
}

void CountedFacts::Forget() {
  for (Microbatch& microbatch : microbatches_) microbatch.step = -1;
  if (prefetcher_ != nullptr) prefetcher_->Drop();
}

}  // namespace hetero
