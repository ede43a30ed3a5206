#ifndef HETERO_TENSOR_SAMPLE_FACTS_H_
#define HETERO_TENSOR_SAMPLE_FACTS_H_

// What is known of a sample before a pixel of it is decoded: headers, sizes and text tell. Both
// ends of a transfer count rows by it, so no shapes are exchanged.

#include <cstdint>
#include <vector>

namespace hetero {

// In pixels.
struct ImageSize {
  int height = 0;
  int width = 0;

  constexpr int64_t Area() const { return int64_t{height} * width; }
  friend constexpr bool operator==(const ImageSize&, const ImageSize&) = default;
};

struct SampleFacts {
  int64_t row_length = 0;         // tokens of its row in the batch, padding included
  int64_t num_image_tokens = 0;   // placeholders in its text
  std::vector<ImageSize> images;  // as the encoder reads them

  bool operator==(const SampleFacts&) const = default;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_SAMPLE_FACTS_H_
