#include "hetero/trainer/feed/media_shares.h"

#include <algorithm>
#include <cstddef>
#include <variant>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/balance/share_out.h"
#include "hetero/data/sample_order.h"
#include "hetero/trainer/feed/checked_facts.h"

namespace hetero {
namespace {

// The images of a step, in the order of its samples.
class ImageList {
 public:
  explicit ImageList(const BatchFeedOptions& options)
      : options_(options), form_(std::get<ImageForm>(modality().form)) {
    one_.modalities.resize(options.modalities.size());
  }

  // Of a sample of lane `lane` at `place` of the run's order.
  absl::Status Add(const SampleFacts& sample, int64_t microbatch, int64_t lane, int64_t place) {
    const ModalityFacts& images = sample.modalities[options_.balanced->modality];
    int64_t sum = 0;
    for (const MediaSize& size : images.sizes) {
      const int64_t patches = size.Area() / (form_.patch_size * form_.patch_size);
      const int64_t tokens = patches / form_.patches_per_token;
      ModalityFacts& one = one_.modalities[options_.balanced->modality];
      one.num_tokens = tokens;
      one.sizes.assign(1, size);
      items_.push_back({.cost = options_.balanced->cost(one_),
                        .num_features = patches,
                        .num_tokens = tokens,
                        .microbatch = microbatch,
                        .lane = lane});
      sum += tokens;
    }
    if (sum == images.num_tokens) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("sample ", place, " of the run has ",
                                                   images.num_tokens, " ", modality().name,
                                                   " tokens, its images give ", sum));
  }

  std::span<const data::LaneItem> items() const { return items_; }

 private:
  const Modality& modality() const { return options_.modalities[options_.balanced->modality]; }

  const BatchFeedOptions& options_;
  const ImageForm& form_;
  SampleFacts one_;
  std::vector<data::LaneItem> items_;
};

}  // namespace

SampleFacts MicrobatchShares::OfLane(int64_t lane, int modality) const {
  SampleFacts facts;
  facts.modalities.resize(samples.front().modalities.size());
  ModalityFacts& own = facts.modalities[modality];
  for (size_t s = 0; s < samples.size(); ++s) {
    for (size_t i = 0; i < media[s].size(); ++i) {
      if (media[s][i].lane != LaneId(lane)) continue;
      own.num_tokens += media[s][i].num_rows;
      own.sizes.push_back(samples[s].modalities[modality].sizes[i]);
    }
  }
  return facts;
}

MediaShares::MediaShares(std::shared_ptr<const BatchFeedOptions> options,
                         std::unique_ptr<data::SampleSource> source, int num_kept)
    : options_(std::move(options)), num_kept_(num_kept), source_(std::move(source)) {}

absl::StatusOr<std::shared_ptr<const StepShares>> MediaShares::Of(int64_t step) {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [kept_step, shares] : kept_) {
    if (kept_step == step) return shares;
  }
  HETERO_ASSIGN_OR_RETURN(StepShares planned, Plan(step));
  auto shares = std::make_shared<const StepShares>(std::move(planned));
  kept_.emplace_back(step, shares);
  if (std::ssize(kept_) > num_kept_) kept_.pop_front();
  return shares;
}

void MediaShares::Forget() {
  const absl::MutexLock lock(&mutex_);
  kept_.clear();
}

absl::StatusOr<StepShares> MediaShares::Plan(int64_t step) {
  const BalancedMedia& balanced = *options_->balanced;
  const data::BatchLayout& batch = options_->batch;
  const int64_t lane_samples = batch.samples_per_microbatch / balanced.num_lanes;
  const int64_t num_microbatches = batch.SizeOf(step) / batch.samples_per_microbatch;
  const data::SourceLimits& limits = options_->limits.modalities[balanced.modality];
  StepShares step_shares;
  ImageList images(*options_);
  for (int64_t m = 0; m < num_microbatches; ++m) {
    std::vector<SampleFacts>& samples = step_shares.microbatches.emplace_back().samples;
    const data::SampleRange range = data::MicrobatchSamples(batch, step, m);
    HETERO_RETURN_IF_ERROR(ReadCheckedFacts(*options_, *source_, range, samples))
        .With(absl::StrCat("microbatch ", m));
    for (int64_t i = 0; i < range.size; ++i) {
      HETERO_RETURN_IF_ERROR(images.Add(samples[i], m, i / lane_samples, range.begin + i));
    }
  }
  data::LaneShares shares = data::ShareOut(images.items(), balanced.num_lanes, num_microbatches,
                                           {.num_features = lane_samples * limits.max_features,
                                            .num_tokens = lane_samples * limits.max_tokens,
                                            .num_items = lane_samples * std::ssize(limits.sizes)});
  size_t next = 0;
  for (MicrobatchShares& microbatch : step_shares.microbatches) {
    for (const SampleFacts& sample : microbatch.samples) {
      std::vector<LaneRows>& media = microbatch.media.emplace_back();
      for (size_t i = 0; i < sample.modalities[balanced.modality].sizes.size(); ++i, ++next) {
        media.push_back({LaneId(shares.lanes[next]), images.items()[next].num_tokens});
      }
    }
  }
  step_shares.work = std::move(shares.work);
  step_shares.work_by_lane.resize(static_cast<size_t>(balanced.num_lanes));
  for (const data::LaneItem& item : images.items()) {
    step_shares.work_by_lane[static_cast<size_t>(item.lane)] += item.cost;
  }
  return step_shares;
}

}  // namespace hetero
