#ifndef HETERO_TRAINER_FEED_FEED_OPTIONS_H_
#define HETERO_TRAINER_FEED_FEED_OPTIONS_H_

// What a stage wants to read of the run's samples.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "hetero/data/sample_order.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/feed/token_owner.h"

namespace hetero {

// Media of a modality that are shared out among the lanes of the module that reads it, by cost.
struct BalancedMedia {
  int modality = 0;
  int64_t num_lanes = 1;  // of the module
  // What the module takes for these media of a sample, and nothing else of it.
  std::function<double(const SampleFacts&)> cost;
};

struct BatchFeedOptions {
  // What the stage reads; with none there are facts only.
  bool reads_tokens = false;
  std::vector<int> reads = {};  // modalities, their sizes
  bool reads_features = false;  // of these, and not the sizes alone

  std::vector<Modality> modalities = {};  // of the model
  std::vector<int> edges = {};            // modality of each edge into the module, in their order
  data::LanePosition position;            // of the rank in the stage's grid
  // What this rank owns where rows of edges arrive, of this module or of another that it has a
  // stage of. Unset: all tokens of this lane.
  std::optional<TokenOwner> token_owner = {};
  // Samples of a microbatch of the run whose facts are wanted, beside this lane's.
  std::vector<data::SampleRange> counted = {};
  std::optional<BalancedMedia> balanced = {};  // unset: every lane has the media of its samples
  data::BatchLayout batch;
  int64_t sequence_length = 0;  // S
  int64_t vocabulary_size = 0;
  int64_t pad_token_id = 0;
  int num_slots = 1;  // microbatches in flight
  Device device;
  DType storage = DType::kF32;  // of features: what the model computes in
  SampleLimits limits;
  std::optional<SampleSet> samples;  // unset on the shape-only device
  // A sample that is read for longer ends the wait for it.
  absl::Duration loader_timeout = absl::InfiniteDuration();

  TokenOwner owner() const {
    return token_owner.value_or(
        TokenOwner{.samples = lane_samples(), .row_length = sequence_length});
  }

  // Of samples of a microbatch of the run those that are this lane's.
  data::SampleRange lane_samples() const { return {position.lane * num_samples(), num_samples()}; }

  // Of this lane's microbatch, here and below.
  int64_t num_samples() const { return batch.samples_per_microbatch / position.num_lanes; }
  int64_t num_tokens() const { return num_samples() * sequence_length; }
  int64_t max_rows(int modality) const {
    return num_samples() * limits.modalities[modality].max_tokens;
  }
  // Of these rows, that belong to tokens that this rank owns.
  int64_t max_own_rows(int modality) const {
    const data::SampleRange samples = lane_samples();
    int64_t rows = 0;
    for (int64_t i = 0; i < samples.size; ++i) {
      rows += owner().MaxOwned(samples.begin + i, limits.modalities[modality].max_tokens);
    }
    return rows;
  }
  int64_t max_features(int modality) const {
    return num_samples() * limits.modalities[modality].max_features;
  }
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_FEED_OPTIONS_H_
