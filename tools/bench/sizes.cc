#include "hetero/tools/bench/sizes.h"

namespace hetero::bench {

std::vector<int32_t> Sizes::ImageBorders(const std::vector<int64_t>& patches) const {
  std::vector<int32_t> borders = {0};
  for (const int64_t count : patches) {
    borders.push_back(static_cast<int32_t>(borders.back() + count + vision.num_class_tokens));
  }
  return borders;
}

Sizes Nemotron20L() {
  constexpr int64_t kHidden = 2688;
  return {
      .tokens = 8192,
      .vocabulary_size = 131072,
      .pattern = "MEMEM*EMEMEM*EMEMEM*",
      .mamba = {.hidden_size = kHidden,
                .num_heads = 64,
                .head_dim = 64,
                .num_groups = 8,
                .state_size = 128,
                .chunk_size = 128},
      .attention = {.hidden_size = kHidden, .num_heads = 32, .num_kv_groups = 8, .head_dim = 128},
      .experts = {.hidden_size = kHidden,
                  .num_experts = 16,
                  .top_k = 6,
                  .ffn_size = 1856,
                  .shared_ffn_size = 3712,
                  .router_scaling = 2.5,
                  .aux_loss_coefficient = 1e-4},
      .num_routed_experts = 128,
      .vision = {.num_layers = 1,
                 .layer = {.hidden_size = 1280, .num_heads = 16, .head_dim = 80, .ffn_size = 5120},
                 .patch_size = 16,
                 .max_image_side = 2048,
                 .num_class_tokens = 8},
      .num_images = 16,
      .image_side = 512,
      .long_tail_patches = {1024, 1024, 13312, 1024, 2048, 1024, 6144, 1536, 1024, 3072, 1024,
                            2048},
      .optimizer_elements = int64_t{1} << 28,
      .copy_elements = int64_t{1} << 29,
      .gemm_side = 8192};
}

Sizes Tiny() {
  constexpr int64_t kHidden = 64;
  return {.tokens = 96,
          .vocabulary_size = 512,
          .pattern = "ME*",
          .mamba = {.hidden_size = kHidden,
                    .num_heads = 4,
                    .head_dim = 16,
                    .num_groups = 2,
                    .state_size = 16,
                    .chunk_size = 16},
          .attention = {.hidden_size = kHidden, .num_heads = 4, .num_kv_groups = 2, .head_dim = 16},
          .experts = {.hidden_size = kHidden,
                      .num_experts = 4,
                      .top_k = 2,
                      .ffn_size = 48,
                      .shared_ffn_size = 64,
                      .router_scaling = 2.5,
                      .aux_loss_coefficient = 1e-4},
          .num_routed_experts = 8,
          .vision = {.num_layers = 1,
                     .layer = {.hidden_size = 32, .num_heads = 2, .head_dim = 16, .ffn_size = 64},
                     .patch_size = 4,
                     .max_image_side = 64,
                     .num_class_tokens = 2},
          .num_images = 2,
          .image_side = 16,
          .long_tail_patches = {4, 64, 16},
          .optimizer_elements = 4096,
          .copy_elements = 1 << 16,
          .gemm_side = 64};
}

}  // namespace hetero::bench
