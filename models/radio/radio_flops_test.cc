#include "hetero/models/radio/radio_flops.h"

#include <array>

#include "gtest/gtest.h"
#include "hetero/models/blocks/projector/projector.h"
#include "hetero/params/counts.h"

namespace hetero {
namespace {

TEST(RadioFlopsTest, OfTheHugeEncoder) {
  const RadioConfig huge{
      .num_layers = 32,
      .layer = {.hidden_size = 1280, .num_heads = 16, .head_dim = 80, .ffn_size = 5120},
      .patch_size = 16,
      .max_image_side = 2048,
      .num_class_tokens = 8};
  const auto teraflops = [&](int side) {
    return RadioFlops(huge, std::array{ImageSize{side, side}}, true).forward * 1e-12;
  };
  EXPECT_NEAR(teraflops(256), 0.344, 1e-3);
  EXPECT_NEAR(teraflops(512), 1.475, 3e-3);
  EXPECT_NEAR(teraflops(1024), 7.93, 2e-2);
  EXPECT_NEAR(teraflops(2048), 64.7, 5e-2);
  // Images do not see each other.
  EXPECT_DOUBLE_EQ(
      RadioFlops(huge, std::array{ImageSize{256, 256}, ImageSize{512, 512}}, true).forward * 1e-12,
      teraflops(256) + teraflops(512));
}

// Two layers of width 8 over one image of 2 x 3 patches and a class token. A layer has 3 x 8 x 8
// parameters of q, k and v, 8 x 8 behind attention and 2 x 8 x 16 in the MLP.
TEST(RadioFlopsTest, CountedByHand) {
  const RadioConfig config{
      .num_layers = 2,
      .layer = {.hidden_size = 8, .num_heads = 2, .head_dim = 4, .ffn_size = 16},
      .patch_size = 4,
      .max_image_side = 16,
      .num_class_tokens = 1};
  const std::array image = {ImageSize{8, 12}};
  const double embedder = 6 * 2 * (3 * 4 * 4) * 8;
  const double layers = 2 * (7 * 2 * (3 * 64 + 64 + 2 * 128) + 7 * 7 * (2 * 8 + 2 * 8));
  EXPECT_EQ(RadioFlops(config, image, /*trains=*/true),
            (Flops{.forward = embedder + layers, .training = 2 * embedder + 3 * layers}));
  EXPECT_EQ(RadioFlops(config, image, /*trains=*/false),
            (Flops{.forward = embedder + layers, .training = embedder + layers}));
  // Gates are 8 x 16 parameters more; biases and scales are no products.
  RadioConfig other = config;
  other.layer.swiglu = true;
  other.layer.qkv_bias = false;
  other.layer.layer_scale_init = 1;
  EXPECT_EQ(RadioFlops(other, image, /*trains=*/true).forward, embedder + layers + 2 * 7 * 2 * 128);
}

TEST(RadioFlopsTest, OfTheProjectorsARow) {
  ProjectorConfig config{.input_size = 5120, .ffn_size = 20480, .output_size = 2688};
  EXPECT_EQ(ProductFlops(Projector::Parameters(config, "", 0)), 2.0 * 5120 * 2688);
  config.kind = ProjectorConfig::Kind::kMlp;
  config.rms_norm = true;
  EXPECT_EQ(ProductFlops(Projector::Parameters(config, "", 0)), 2.0 * 20480 * (5120 + 2688));
}

}  // namespace
}  // namespace hetero
