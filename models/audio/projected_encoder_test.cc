// The encoder with its projector: as one stage, as two, and with frozen parts.

#include "hetero/models/blocks/projector/projected_encoder.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/rounding.h"
#include "hetero/models/audio/encoder.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

using AudioModule = ProjectedEncoder<AudioEncoder>;

constexpr int64_t kFrames = 8, kMels = 3, kRows = 5, kWidth = 8, kOutput = 6;

AudioModule::Config SmallConfig(bool train_encoder, bool train_projector) {
  return {.encoder = {.num_layers = 2,
                      .layer = {.hidden_size = kWidth,
                                .num_heads = 2,
                                .head_dim = 4,
                                .ffn_size = 12,
                                .storage = DType::kF64},
                      .num_mels = kMels,
                      .max_frames = 20},
          .projector = {.kind = ProjectorConfig::Kind::kMlp,
                        .rms_norm = true,
                        .input_size = kWidth,
                        .ffn_size = 7,
                        .output_size = kOutput,
                        .storage = DType::kF64},
          .train_encoder = train_encoder,
          .train_projector = train_projector};
}

struct Harness {
  explicit Harness(AudioModule::Config config_, int num_stages = 1)
      : config(std::move(config_)), saved(num_stages) {
    uint64_t seed = 1;
    for (const auto& parameter : store->parameters()) {
      FillRandom(parameter->value, seed++, 0.5, 0.1);
    }
    for (int s = 0; s < num_stages; ++s) {
      stages.push_back(
          AudioModule::Create(config, {.stage = s, .num_stages = num_stages}, *store, nullptr)
              .value());
    }
    FillRandom(TensorView(std::span<double>(frames), {kFrames, kMels}), 90, 1);
    FillRandom(TensorView(std::span<double>(probe), {kRows, kOutput}), 91, 1);
  }

  std::vector<double> Forward() {
    context.Reset();
    TensorView hidden;
    for (size_t s = 0; s < stages.size(); ++s) {
      const absl::StatusOr<TensorView> out = stages[s].Forward(
          *context, {.frames = {frames.data(), DType::kF64, {kFrames, kMels}}, .lengths = lengths},
          hidden, saved[s]);
      EXPECT_THAT(out, IsOk());
      hidden = *out;
    }
    const std::span<const double> values = hidden.values<double>();
    return {values.begin(), values.end()};
  }
  double Loss() {
    const std::vector<double> out = Forward();
    return std::inner_product(out.begin(), out.end(), probe.begin(), 0.0);
  }
  void Backward() {
    std::vector<double> d_output = probe;
    TensorView gradient(std::span<double>(d_output), {kRows, kOutput});
    for (size_t s = stages.size(); s-- > 0;) {
      TensorView upstream;
      if (s > 0) upstream = context->activations.Allocate(DType::kF64, {kRows, kWidth}).value();
      // Nobody wants the gradient of frames, as a run says to its first stages.
      context->needs_input_gradient = s > 0;
      ASSERT_THAT(stages[s].Backward(*context, saved[s], gradient, upstream), IsOk());
      gradient = upstream;
    }
  }

  AudioModule::Config config;
  std::vector<int32_t> lengths = {3, 5};
  MemoryLedger memory;
  std::unique_ptr<ParameterStore> store =
      ParameterStore::Create(ParameterTable::Make(AudioModule::Parameters(config, 1)).value(), {},
                             {}, memory)
          .value();
  std::vector<AudioModule> stages;
  std::vector<AudioModule::Saved> saved;
  std::vector<double> frames = std::vector<double>(kFrames * kMels);
  std::vector<double> probe = std::vector<double>(kRows * kOutput);
  TestContext context;
};

TEST(ProjectedEncoderTest, GradientsMatchDifferencesWhateverIsFrozen) {
  for (const auto& [encoder, projector] : {std::pair{true, true}, {true, false}, {false, true}}) {
    Harness m(SmallConfig(encoder, projector));
    m.Forward();
    m.Backward();
    CheckGradients([&] { return m.Loss(); }, CheckedParameters(*m.store));
  }
}

TEST(ProjectedEncoderTest, StagesInARowAreTheWhole) {
  Harness whole(SmallConfig(true, true)), split(SmallConfig(true, true), 2);
  EXPECT_EQ(split.Forward(), whole.Forward());
  whole.Backward();
  split.Backward();
  for (size_t i = 0; i < whole.store->parameters().size(); ++i) {
    const Parameter& a = *whole.store->parameters()[i];
    const Parameter& b = *split.store->parameters()[i];
    EXPECT_TRUE(std::ranges::equal(a.gradient.values<double>(), b.gradient.values<double>()))
        << a.spec->name;
  }
}

int64_t BytesOf(int64_t elements) {
  return RoundUp(elements * static_cast<int64_t>(sizeof(double)), Buffer::kAlignment);
}

TEST(ProjectedEncoderTest, WhatIsFrozenKeepsNothing) {
  const std::vector<double> trained = Harness(SmallConfig(true, true)).Forward();

  Harness frozen(SmallConfig(false, false));
  EXPECT_EQ(frozen.Forward(), trained);
  EXPECT_EQ(frozen.context->activations.used_bytes(), BytesOf(kRows * kOutput));
  frozen.Backward();
  EXPECT_TRUE(std::ranges::all_of(frozen.store->parameters(), [](const auto& parameter) {
    return parameter->gradient.is_null();
  }));

  // The projector's gradient needs what it reads: features, and what lies inside it.
  Harness half(SmallConfig(false, true));
  EXPECT_EQ(half.Forward(), trained);
  EXPECT_EQ(half.context->activations.used_bytes(), BytesOf(kRows * kOutput) +
                                                        2 * BytesOf(kRows * kWidth) +
                                                        BytesOf(kRows) + 2 * BytesOf(kRows * 7));

  Harness evaluated(SmallConfig(true, true));
  evaluated.context->mode = Mode::kEval;
  EXPECT_EQ(evaluated.Forward(), trained);
  EXPECT_EQ(evaluated.context->activations.used_bytes(), BytesOf(kRows * kOutput));
}

}  // namespace
}  // namespace hetero
