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

// What the language grid reads. A row is image tokens, then text, then padding; labels are the next
// token where that is text, else kIgnoredLabel.
struct LanguageBatch {
  int64_t step = 0;
  int64_t microbatch = 0;
  int64_t num_samples = 0;      // B
  int64_t sequence_length = 0;  // S

  std::vector<int32_t> tokens;            // [B, S]
  std::vector<int32_t> labels;            // [B, S]
  std::vector<float> loss_mask;           // [B, S], 1 where the label counts
  std::vector<int64_t> num_tokens;        // [B]: positions before the padding
  std::vector<int64_t> num_image_tokens;  // [B]: rows of encoder output each sample takes
  int64_t num_loss_tokens = 0;            // positions that count, over the batch
};

// What the encoder grid reads: the images of the samples in order, patches of all images in one
// packed sequence.
struct ImageBatch {
  int64_t step = 0;
  int64_t microbatch = 0;
  int64_t patch_elements = 0;  // 3 * patch * patch

  std::vector<float> patches;             // [sum of patches, patch_elements]
  std::vector<ImageSize> sizes;           // [images], pixels
  std::vector<int32_t> cu_seqlens;        // [images + 1]: first patch of each image, then the sum
  std::vector<int64_t> image_tokens;      // [images]: rows of encoder output each image gives
  std::vector<int64_t> num_images;        // [B]
  std::vector<int64_t> num_image_tokens;  // [B]

  int64_t NumPatches() const { return cu_seqlens.empty() ? 0 : cu_seqlens.back(); }

  // Empties the batch for samples of this patch width.
  void Clear(int64_t elements) {
    patch_elements = elements;
    patches.clear();
    sizes.clear();
    cu_seqlens.assign(1, 0);
    image_tokens.clear();
    num_images.clear();
    num_image_tokens.clear();
  }

  // Starts the next sample.
  void BeginSample() {
    num_images.push_back(0);
    num_image_tokens.push_back(0);
  }

  // Appends an image to the current sample and returns its unwritten patches.
  std::span<float> AddImage(ImageSize size, int64_t num_patches, int64_t num_tokens) {
    sizes.push_back(size);
    cu_seqlens.push_back(static_cast<int32_t>(cu_seqlens.back() + num_patches));
    image_tokens.push_back(num_tokens);
    ++num_images.back();
    num_image_tokens.back() += num_tokens;
    const size_t begin = patches.size();
    patches.resize(begin + static_cast<size_t>(num_patches * patch_elements));
    return std::span(patches).subspan(begin);
  }
};

}  // namespace hetero::data

#endif  // HETERO_DATA_BATCH_H_
