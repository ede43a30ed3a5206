#include "hetero/models/audio/audio_flops.h"

#include <array>

#include "gtest/gtest.h"

namespace hetero {
namespace {

// One layer of width 8 over 5 frames, of which the second convolution leaves 3 rows, and over 2,
// of which it leaves 1. The layer has 4 x 8 x 8 parameters in attention and 2 x 8 x 16 in the MLP.
TEST(AudioFlopsTest, CountedByHand) {
  const AudioConfig config{
      .num_layers = 1,
      .layer = {.hidden_size = 8, .num_heads = 2, .head_dim = 4, .ffn_size = 16},
      .num_mels = 10,
      .max_frames = 16};
  const std::array clips = {MediaSize{5, 1}, MediaSize{2, 1}};
  const double every_frame = (5 + 2) * 2 * (3 * 10) * 8;
  const double every_other = (3 + 1) * 2 * (3 * 8) * 8;
  const double layer = (3 + 1) * 2 * (4 * 64 + 2 * 128) + (3 * 3 + 1 * 1) * (2 * 8 + 2 * 8);
  const double forward = every_frame + every_other + layer;
  EXPECT_EQ(AudioFlops(config, clips, /*trains=*/true),
            (Flops{.forward = forward, .training = 2 * every_frame + 3 * every_other + 3 * layer}));
  EXPECT_EQ(AudioFlops(config, clips, /*trains=*/false),
            (Flops{.forward = forward, .training = forward}));
}

}  // namespace
}  // namespace hetero
