#ifndef HETERO_TRAINER_FEED_FEED_TESTING_H_
#define HETERO_TRAINER_FEED_FEED_TESTING_H_

// Samples that tests know by heart, and a feed of them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/data/batch.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero::feed_testing {

inline constexpr int64_t kSequence = 24;
inline constexpr int32_t kImageId = 511;
inline constexpr int32_t kPad = 0;
inline constexpr int64_t kMicrobatch = 8;  // samples of all lanes
inline constexpr int64_t kGlobalBatch = 16;

// Samples of different sizes: sample i has 1 + i % 3 images of two tokens, all its pixels are i,
// and i % 4 + 1 text tokens 100 + i.
class SizedSource : public data::SampleSource {
 public:
  explicit SizedSource(int64_t size) : size_(size) {}

  int64_t size() const override { return size_; }
  int64_t feature_width(int) const override { return 12; }
  absl::Status ReadLanguage(int64_t index, data::LanguageSample& out) override {
    out.name = absl::StrCat("sized/", index);
    out.media = {{.modality = 0, .tokens = {0, 2 * (1 + index % 3)}}};
    out.text.assign(static_cast<size_t>(index % 4 + 1), static_cast<int32_t>(100 + index));
    out.labels = out.text;
    return absl::OkStatus();
  }
  absl::Status ReadMedia(int64_t index, int, data::MediaBatch& out) override {
    for (int64_t i = 0; i <= index % 3; ++i) {
      if (!out.Wants()) {
        out.Pass();
        continue;
      }
      std::ranges::fill(out.Add({.height = 4, .width = 8}, 8, 2), static_cast<float>(index));
    }
    return absl::OkStatus();
  }
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    data::FactsOf(facts, 0).sizes.assign(static_cast<size_t>(1 + index % 3),
                                         {.height = 4, .width = 8});
    data::AddPlaceholders({0, 2 * (1 + index % 3)}, facts.modalities[0]);
    return absl::OkStatus();
  }

 private:
  int64_t size_;
};

template <typename Source>
SampleSet SetOf(data::SampleOrder order, int64_t size) {
  return {.order = order, .open = [size]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
            return std::make_unique<Source>(size);
          }};
}

inline SampleLimits SizedLimits() {
  return {.modalities = {{.feature_width = 12,
                          .sizes = std::vector<ImageSize>(3, {.height = 4, .width = 8}),
                          .max_features = 24,
                          .max_tokens = 6}}};
}

inline BatchFeedOptions Options(SampleSet samples, int64_t lane, int64_t num_lanes) {
  return {.reads_tokens = true,
          .reads = {0},
          .reads_features = true,
          .modalities = {{.name = "image", .placeholder_id = kImageId, .form = ImageForm()}},
          .edges = {0},
          .position = {.lane = lane, .num_lanes = num_lanes},
          .counted = {{0, kMicrobatch}},
          .batch = {.global_batch_size = kGlobalBatch, .samples_per_microbatch = kMicrobatch},
          .sequence_length = kSequence,
          .vocabulary_size = 512,
          .pad_token_id = kPad,
          .num_slots = 2,
          .limits = SizedLimits(),
          .samples = std::move(samples)};
}

inline data::SampleOrder Shuffled(int64_t size) {
  return data::SampleOrder::Shuffled(size, 3).value();
}

// Everything that reaches the ranks in a microbatch, lanes one after another.
struct Content {
  std::vector<int32_t> tokens;   // in place
  std::vector<int32_t> targets;  // in place, -1 without loss
  std::vector<float> weights;
  std::vector<float> patches;
  std::vector<ImageSize> sizes;

  bool operator==(const Content&) const = default;
};

template <typename T>
void Append(const ConstTensorView& from, std::vector<T>& to) {
  const auto values = from.values<T>();
  to.insert(to.end(), values.begin(), values.end());
}

// The tokens in place, as a stage would see them after its embedding.
inline std::vector<int32_t> Tokens(const TokenBatch& batch) {
  std::vector<int32_t> tokens(batch.sequences.num_tokens(), -1);
  const auto ids = batch.text_tokens.values<int32_t>();
  const auto text = batch.text_positions.values<int32_t>();
  for (size_t i = 0; i < text.size(); ++i) tokens[text[i]] = ids[i];
  for (const ConstTensorView& positions : batch.modality_positions) {
    for (int32_t t : positions.values<int32_t>()) tokens[t] = kImageId;
  }
  return tokens;
}

inline std::vector<int32_t> Targets(const TokenBatch& batch) {
  std::vector<int32_t> targets(batch.sequences.num_tokens(), -1);
  const auto positions = batch.loss_positions.values<int32_t>();
  for (size_t i = 0; i < positions.size(); ++i) {
    targets[positions[i]] = batch.loss_targets.values<int32_t>()[i];
  }
  return targets;
}

inline void Append(const FeedInput& input, Content& content) {
  const std::vector<int32_t> tokens = Tokens(*input.tokens);
  const std::vector<int32_t> targets = Targets(*input.tokens);
  content.tokens.insert(content.tokens.end(), tokens.begin(), tokens.end());
  content.targets.insert(content.targets.end(), targets.begin(), targets.end());
  Append(input.tokens->loss_weights, content.weights);
  Append(input.modalities[0].features, content.patches);
  content.sizes.insert(content.sizes.end(), input.modalities[0].sizes.begin(),
                       input.modalities[0].sizes.end());
}

// Of steps 0, 1, ..., by microbatch.
inline std::vector<Content> ReadSteps(const SampleSet& samples, int64_t num_lanes,
                                      int64_t num_steps) {
  std::vector<Content> contents(num_steps * kGlobalBatch / kMicrobatch);
  for (int64_t lane = 0; lane < num_lanes; ++lane) {
    MemoryLedger ledger;
    StreamWithWorkspace stream;
    BatchFeed feed = BatchFeed::Create(Options(samples, lane, num_lanes), ledger).value();
    for (size_t i = 0; i < contents.size(); ++i) {
      const int number = static_cast<int>(i);
      Append(feed.Load(number % 2, number / 2, number % 2, *stream).value(), contents[i]);
    }
  }
  return contents;
}

// Of each sample of the whole microbatch, or of some.
inline std::vector<int64_t> ImageTokens(BatchFeed& feed, int64_t step, int microbatch,
                                        data::SampleRange range = {0, kMicrobatch}) {
  std::vector<int64_t> tokens;
  const std::span<const SampleFacts> facts = feed.Facts(step, microbatch, range).value();
  for (const SampleFacts& sample : facts) {
    tokens.push_back(sample.modalities.empty() ? 0 : sample.modalities[0].num_tokens);
  }
  return tokens;
}

}  // namespace hetero::feed_testing

#endif  // HETERO_TRAINER_FEED_FEED_TESTING_H_
