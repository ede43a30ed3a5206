#ifndef HETERO_DATA_BATCH_H_
#define HETERO_DATA_BATCH_H_

// One microbatch of a lane, on the host. B samples, S positions. Buffers keep their capacity from
// one use to the next.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hetero/data/image/image.h"

namespace hetero::data {

// The label of a position without loss.
inline constexpr int32_t kIgnoredLabel = -100;

// What the language grid reads. A sample is text and placeholders of its media; a row is one sample
// or several, then padding. Labels are the next token of the same sample where that is text that is
// trained on, else kIgnoredLabel.
struct LanguageBatch {
  int64_t num_samples = 0;      // B
  int64_t sequence_length = 0;  // S

  std::vector<int32_t> tokens;            // [B, S]
  std::vector<int32_t> labels;            // [B, S]
  std::vector<float> loss_mask;           // [B, S], 1 where the label counts
  std::vector<int64_t> num_tokens;        // [B]: positions before the padding
  std::vector<int64_t> num_placeholders;  // [B]: rows of encoder output each row takes
  // From 0 to B S: where a row begins and, in one of several samples, each of them and the padding.
  std::vector<int32_t> borders;
  int64_t num_loss_tokens = 0;  // positions that count, over the batch
};

// What an encoder's grid reads of one modality: the images or clips of the samples in order,
// patches or frames of all of them in one packed sequence.
struct MediaBatch {
  int64_t feature_width = 0;  // 3 * patch * patch, or mels

  std::vector<float> features;            // [patches or frames, feature_width]
  std::vector<MediaSize> sizes;           // [media]
  std::vector<int32_t> cu_seqlens;        // [media + 1]: first row of each, then the sum
  std::vector<int64_t> media_tokens;      // [media]: rows of encoder output each gives
  std::vector<int64_t> num_media;         // [B]
  std::vector<int64_t> num_placeholders;  // [B]: rows of encoder output each sample gives

  // Which of the current sample's images or clips to add; empty: all of them.
  std::vector<bool> wanted;
  int64_t num_passed = 0;  // of the current sample, added or left out

  int64_t NumFeatures() const { return cu_seqlens.empty() ? 0 : cu_seqlens.back(); }

  // Empties the batch for features of this width.
  void Clear(int64_t width) {
    feature_width = width;
    features.clear();
    sizes.clear();
    cu_seqlens.assign(1, 0);
    media_tokens.clear();
    num_media.clear();
    num_placeholders.clear();
    wanted.clear();
    num_passed = 0;
  }

  // Starts the next sample.
  void BeginSample() {
    num_media.push_back(0);
    num_placeholders.push_back(0);
    num_passed = 0;
  }

  // Whether the one `ahead` of the next of the current sample is to be added; if not, it is passed
  // over instead, and need not be decoded.
  bool Wants(int64_t ahead = 0) const {
    const auto next = static_cast<size_t>(num_passed + ahead);
    return wanted.empty() || (next < wanted.size() && wanted[next]);
  }
  void Pass() { ++num_passed; }

  // Appends an image or a clip to the current sample and returns its unwritten features.
  std::span<float> Add(MediaSize size, int64_t num_features, int64_t num_tokens) {
    sizes.push_back(size);
    cu_seqlens.push_back(static_cast<int32_t>(cu_seqlens.back() + num_features));
    media_tokens.push_back(num_tokens);
    ++num_media.back();
    num_placeholders.back() += num_tokens;
    ++num_passed;
    const size_t begin = features.size();
    features.resize(begin + static_cast<size_t>(num_features * feature_width));
    return std::span(features).subspan(begin);
  }
};

}  // namespace hetero::data

#endif  // HETERO_DATA_BATCH_H_
