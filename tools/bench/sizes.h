#ifndef HETERO_TOOLS_BENCH_SIZES_H_
#define HETERO_TOOLS_BENCH_SIZES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "hetero/models/blocks/attention/attention.h"
#include "hetero/models/blocks/mamba/mamba.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/radio/encoder.h"

namespace hetero::bench {

// The shapes of all cases. Storage types are those of the operands.
struct Sizes {
  int64_t tokens = 0;  // of one sequence
  int64_t vocabulary_size = 0;
  std::string pattern;  // of the whole model's layers
  MambaConfig mamba;
  AttentionConfig attention;
  MoeConfig experts;               // of one expert-parallel rank, with all the rows it receives
  int64_t num_routed_experts = 0;  // of the whole model: what the router chooses from

  RadioConfig vision;
  int64_t num_images = 0;
  int64_t image_side = 0;                  // pixels
  std::vector<int64_t> long_tail_patches;  // of the images of a batch of very different ones

  int64_t optimizer_elements = 0;
  int64_t copy_elements = 0;  // of the ceilings: f32, and the side of a square product
  int64_t gemm_side = 0;

  int64_t hidden_size() const { return mamba.hidden_size; }
  int64_t expert_rows() const { return tokens * experts.top_k; }
  int64_t patches_per_image() const {
    return (image_side / vision.patch_size) * (image_side / vision.patch_size);
  }
  int64_t num_patches() const { return num_images * patches_per_image(); }

  // Borders of images with so many patches, as layers see them: each with its class tokens.
  std::vector<int32_t> ImageBorders(const std::vector<int64_t>& patches) const;
  std::vector<int32_t> EqualImages() const {
    return ImageBorders(std::vector<int64_t>(num_images, patches_per_image()));
  }
  // As many patches as all of them.
  std::vector<int32_t> OneImage() const { return ImageBorders({num_patches()}); }
  std::vector<int32_t> LongTailedImages() const { return ImageBorders(long_tail_patches); }
};

// A 20-layer hybrid model of Nemotron-3-Nano's widths with an eighth of its experts, and the ViT-H
// encoder of RADIO on 16 images of 512 x 512.
Sizes Nemotron20L();

// The same in small, for a CPU.
Sizes Tiny();

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_SIZES_H_
