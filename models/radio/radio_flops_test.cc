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
    return RadioForwardFlops(huge, std::array{ImageSize{side, side}}) * 1e-12;
  };
  EXPECT_NEAR(teraflops(256), 0.344, 1e-3);
  EXPECT_NEAR(teraflops(512), 1.475, 3e-3);
  EXPECT_NEAR(teraflops(1024), 7.93, 2e-2);
  EXPECT_NEAR(teraflops(2048), 64.7, 5e-2);
  // Images do not see each other.
  EXPECT_DOUBLE_EQ(
      RadioForwardFlops(huge, std::array{ImageSize{256, 256}, ImageSize{512, 512}}) * 1e-12,
      teraflops(256) + teraflops(512));
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
