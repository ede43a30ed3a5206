#ifndef HETERO_TENSOR_SAMPLE_FACTS_H_
#define HETERO_TENSOR_SAMPLE_FACTS_H_

// What is known of a sample before a pixel of it is decoded: headers, sizes and text tell. Both
// ends of a transfer count rows by it, so no shapes are exchanged.

#include <cstdint>
#include <vector>

#include "hetero/base/index_range.h"

namespace hetero {

// Of an image in pixels; of a clip `height` is its frames and `width` 1.
struct MediaSize {
  int height = 0;
  int width = 0;

  constexpr int64_t Area() const { return int64_t{height} * width; }
  friend constexpr bool operator==(const MediaSize&, const MediaSize&) = default;
};
using ImageSize = MediaSize;

// One modality of a sample.
struct ModalityFacts {
  int64_t num_tokens = 0;             // placeholders in the sample's row
  std::vector<IndexRange> runs = {};  // of the row's tokens, ascending and apart: those it is
  std::vector<MediaSize> sizes;       // as the encoder reads them

  bool operator==(const ModalityFacts&) const = default;
};

struct SampleFacts {
  int64_t row_length = 0;                 // tokens of its row in the batch, padding included
  std::vector<ModalityFacts> modalities;  // by ModelGraph::modalities

  bool operator==(const SampleFacts&) const = default;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_SAMPLE_FACTS_H_
