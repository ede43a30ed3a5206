// The encoder against transformers' RADIO on packed images, whose numbers testdata/generate.py
// wrote.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/testing/golden_file.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

void ExpectThatOfFile(const EncoderLayerConfig& layer, const char* file) {
  const RadioConfig config{.num_layers = 2,
                           .layer = layer,
                           .patch_size = 4,
                           .max_image_side = 24,
                           .num_class_tokens = 3};
  const std::vector<ImageSize> sizes = {{16, 24}, {24, 16}, {8, 16}};
  constexpr int64_t kPatches = 24 + 24 + 8;
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(RadioEncoder::Parameters(config, "", 1)).value(),
                             {}, {}, memory)
          .value();
  const RadioEncoder encoder = RadioEncoder::Create(config, "", {}, *store, nullptr).value();
  GoldenFile golden(file);
  golden.ReadValues(store->parameters());
  std::vector<float> patches = golden.Next(kPatches * 48);
  std::vector<float> d_features = golden.Next(kPatches * 16);
  // The other implementation forms the resize's coefficients in f32.
  const ErrorSpec spec{.relative_to_max = 1e-5};
  TestContext context;
  RadioEncoder::Saved saved;
  const absl::StatusOr<TensorView> features = encoder.Forward(
      *context, {.patches = {patches.data(), DType::kF32, {kPatches, 48}}, .sizes = sizes}, {},
      saved);
  ASSERT_THAT(features, IsOk());
  EXPECT_THAT(features->values<float>(), IsCloseTo(golden.Next(kPatches * 16), spec));
  ASSERT_THAT(encoder.Backward(*context, saved,
                               TensorView(d_features.data(), DType::kF32, {kPatches / 4, 64}), {}),
              IsOk());
  golden.ExpectGradients(store->parameters(), spec);
  EXPECT_TRUE(golden.AtEnd());
}

TEST(RadioGoldenTest, ForwardAndGradientsAreThoseOfRadio) {
  ExpectThatOfFile({.hidden_size = 16, .num_heads = 2, .head_dim = 8, .ffn_size = 32},
                   "models/radio/testdata/radio_encoder.f32");
}

// Two thirds of the width, up to a multiple of 8.
TEST(RadioGoldenTest, SoAreThoseOfGatedLayers) {
  ExpectThatOfFile({.hidden_size = 16,
                    .num_heads = 2,
                    .head_dim = 8,
                    .ffn_size = 24,
                    .swiglu = true,
                    .qkv_bias = false,
                    .layer_scale_init = 0.5},
                   "models/radio/testdata/radio_gated_encoder.f32");
}

}  // namespace
}  // namespace hetero
