// The encoder against transformers' Whisper, whose numbers testdata/generate.py wrote.

#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/audio/encoder.h"
#include "hetero/models/testing/golden_file.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

TEST(AudioGoldenTest, ForwardAndGradientsAreThoseOfWhisper) {
  const AudioConfig config{.num_layers = 2,
                           .layer = {.hidden_size = 16,
                                     .num_heads = 2,
                                     .head_dim = 8,
                                     .ffn_size = 32,
                                     .gelu = GeluForm::kErf,
                                     .norm_epsilon = 1e-5},
                           .num_mels = 5,
                           .max_frames = 12};
  const std::vector<int32_t> lengths = {12, 6};
  constexpr int64_t kFrames = 18, kRows = 9;
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(AudioEncoder::Parameters(config, "", 1)).value(),
                             {}, {}, memory)
          .value();
  const AudioEncoder encoder = AudioEncoder::Create(config, "", {}, *store, nullptr).value();
  GoldenFile golden("models/audio/testdata/whisper_encoder.f32");
  golden.ReadValues(store->parameters());
  std::vector<float> frames = golden.Next(kFrames * 5);
  std::vector<float> d_features = golden.Next(kRows * 16);
  const ErrorSpec spec{.relative_to_max = 1e-5};
  TestContext context;
  AudioEncoder::Saved saved;
  const absl::StatusOr<TensorView> features = encoder.Forward(
      *context,
      {.frames = ConstTensorView(frames.data(), DType::kF32, {kFrames, 5}), .lengths = lengths}, {},
      saved);
  ASSERT_THAT(features, IsOk());
  EXPECT_THAT(features->values<float>(), IsCloseTo(golden.Next(kRows * 16), spec));
  ASSERT_THAT(encoder.Backward(*context, saved,
                               TensorView(d_features.data(), DType::kF32, {kRows, 16}), {}),
              IsOk());
  golden.ExpectGradients(store->parameters(), spec);
  EXPECT_TRUE(golden.AtEnd());
}

}  // namespace
}  // namespace hetero
