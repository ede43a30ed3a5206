#include "hetero/models/audio/encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numbers>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

AudioConfig SmallConfig() {
  return {.num_layers = 2,
          .layer = {.hidden_size = 8,
                    .num_heads = 2,
                    .head_dim = 4,
                    .ffn_size = 12,
                    .gelu = GeluForm::kErf,
                    .storage = DType::kF64},
          .num_mels = 3,
          .max_frames = 20};
}

// Parameters, random everywhere, of all stages, and clips.
struct Harness {
  explicit Harness(const AudioConfig& audio_config, std::vector<int32_t> clip_lengths,
                   int num_stages = 1)
      : config(audio_config), lengths(std::move(clip_lengths)) {
    uint64_t seed = 1;
    for (const auto& parameter : store->parameters()) {
      FillRandom(parameter->value, seed++, 0.5, 0.1);
    }
    for (int s = 0; s < num_stages; ++s) {
      stages.push_back(
          AudioEncoder::Create(config, "", {.stage = s, .num_stages = num_stages}, *store, nullptr)
              .value());
    }
    saved.resize(num_stages);
    FillRandom(TensorView(std::span<double>(frames), {num_frames(), config.num_mels}), 90, 1);
    FillRandom(TensorView(std::span<double>(probe), {num_rows(), width()}), 91, 1);
  }

  int64_t width() const { return config.layer.hidden_size; }
  int64_t num_frames() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
  int64_t num_rows() const {
    int64_t rows = 0;
    for (const int32_t length : lengths) rows += (length + 1) / 2;
    return rows;
  }
  AudioBatch Clips() const {
    return {.frames = {frames.data(), DType::kF64, {num_frames(), config.num_mels}},
            .lengths = lengths};
  }
  absl::StatusOr<TensorView> Run() {
    TensorView hidden;
    for (size_t s = 0; s < stages.size(); ++s) {
      absl::StatusOr<TensorView> out = stages[s].Forward(*context, Clips(), hidden, saved[s]);
      if (!out.ok()) return out;
      hidden = *out;
    }
    return hidden;
  }
  std::vector<double> Forward() {
    context.Reset();
    const absl::StatusOr<TensorView> features = Run();
    EXPECT_THAT(features, IsOk());
    const std::span<const double> values = features->values<double>();
    return {values.begin(), values.end()};
  }
  double Loss() {
    const std::vector<double> features = Forward();
    return std::inner_product(features.begin(), features.end(), probe.begin(), 0.0);
  }
  void Backward() {
    std::vector<double> d_output = probe;
    d_output.reserve(1);  // no rows are not a null view
    TensorView gradient(d_output.data(), DType::kF64, {num_rows(), width()});
    for (size_t s = stages.size(); s-- > 0;) {
      TensorView upstream;
      if (s > 0) {
        upstream = context->activations.Allocate(DType::kF64, {num_rows(), width()}).value();
      }
      ASSERT_THAT(stages[s].Backward(*context, saved[s], gradient, upstream), IsOk());
      gradient = upstream;
    }
  }
  std::span<const double> Value(const char* name) const {
    return store->Find(name).value()->value.values<double>();
  }

  AudioConfig config;
  std::vector<int32_t> lengths;
  MemoryLedger memory;
  std::unique_ptr<ParameterStore> store =
      ParameterStore::Create(ParameterTable::Make(AudioEncoder::Parameters(config, "", 1)).value(),
                             {}, {}, memory)
          .value();
  std::vector<AudioEncoder> stages;
  std::vector<AudioEncoder::Saved> saved;
  std::vector<double> frames = std::vector<double>(num_frames() * config.num_mels);
  std::vector<double> probe = std::vector<double>(num_rows() * width());
  TestContext context;
};

const std::vector<int32_t> kClips = {7, 1, 10};

double Gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }

// Row by row: y[o] = gelu(bias + sum over three taps around row stride o), zeros outside.
std::vector<double> NaiveConvolution(std::span<const double> x, int64_t rows, int64_t channels,
                                     std::span<const double> weight, std::span<const double> bias,
                                     int64_t stride) {
  const int64_t outputs = std::ssize(bias);
  std::vector<double> y;
  for (int64_t middle = 0; middle < rows; middle += stride) {
    for (int64_t n = 0; n < outputs; ++n) {
      double sum = bias[n];
      for (int64_t k = 0; k < 3; ++k) {
        const int64_t t = middle + k - 1;
        if (t < 0 || t >= rows) continue;
        for (int64_t c = 0; c < channels; ++c) {
          sum += weight[(n * 3 + k) * channels + c] * x[t * channels + c];
        }
      }
      y.push_back(Gelu(sum));
    }
  }
  return y;
}

TEST(AudioEncoderTest, TheStemIsTheFormulaOfEveryClip) {
  AudioConfig config = SmallConfig();
  config.num_layers = 0;
  Harness m(config, kClips);
  // The first of two stages without layers ends behind the positions.
  m.stages = {
      AudioEncoder::Create(config, "", {.stage = 0, .num_stages = 2}, *m.store, nullptr).value()};
  std::vector<double> expected;
  int64_t first = 0;
  for (const int32_t length : kClips) {
    const auto clip = std::span<const double>(m.frames).subspan(first * 3, length * 3);
    const std::vector<double> once =
        NaiveConvolution(clip, length, 3, m.Value("conv1.weight"), m.Value("conv1.bias"), 1);
    const std::vector<double> twice =
        NaiveConvolution(once, length, 8, m.Value("conv2.weight"), m.Value("conv2.bias"), 2);
    for (size_t i = 0; i < twice.size(); ++i) {
      const double t = static_cast<double>(i / 8);
      const double angle = t * std::pow(10000.0, -static_cast<double>(i % 4) / 3);
      expected.push_back(twice[i] + (i % 8 < 4 ? std::sin(angle) : std::cos(angle)));
    }
    first += length;
  }
  EXPECT_THAT(m.Forward(), IsCloseTo(expected, {.absolute = 1e-13}));
}

TEST(AudioEncoderTest, GradientsMatchDifferences) {
  for (const GeluForm gelu : {GeluForm::kErf, GeluForm::kTanh}) {
    AudioConfig config = SmallConfig();
    config.layer.gelu = gelu;
    Harness m(config, kClips);
    m.Forward();
    m.Backward();
    CheckGradients([&] { return m.Loss(); }, CheckedParameters(*m.store));
  }
}

TEST(AudioEncoderTest, AClipDoesNotSeeItsNeighbours) {
  Harness all(SmallConfig(), kClips);
  const std::vector<double> packed = all.Forward();
  int64_t first_frame = 0, first_feature = 0;
  for (const int32_t length : kClips) {
    Harness one(SmallConfig(), {length});
    std::copy_n(all.frames.begin() + first_frame, one.frames.size(), one.frames.begin());
    const std::vector<double> alone = one.Forward();
    EXPECT_EQ(std::ssize(alone), AudioRows(length) * 8);
    EXPECT_THAT(alone, IsCloseTo(std::span(packed).subspan(first_feature, alone.size()),
                                 {.absolute = 1e-12}));
    first_frame += std::ssize(one.frames);
    first_feature += std::ssize(alone);
  }
  EXPECT_EQ(first_feature, std::ssize(packed));
}

TEST(AudioEncoderTest, StagesInARowAreTheWhole) {
  Harness whole(SmallConfig(), kClips), split(SmallConfig(), kClips, 2);
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

TEST(AudioEncoderTest, TheFirstStageHoldsTheConvolutionsAndTheLastTheNorm) {
  for (const ParameterSpec& spec : AudioEncoder::Parameters(SmallConfig(), "", 2)) {
    const bool last = spec.name.starts_with("decoder.layers.1.") ||
                      spec.name.starts_with("decoder.final_layernorm.");
    EXPECT_EQ(spec.stage, last ? 1 : 0) << spec.name;
  }
}

TEST(AudioEncoderTest, NoClipsGiveNoRowsAndZeroGradients) {
  Harness m(SmallConfig(), {});
  EXPECT_TRUE(m.Forward().empty());
  m.Backward();
  for (const auto& parameter : m.store->parameters()) {
    EXPECT_THAT(parameter->gradient.values<double>(), testing::Each(0.0)) << parameter->spec->name;
  }
}

TEST(AudioEncoderTest, EvaluationKeepsOnlyTheResult) {
  Harness m(SmallConfig(), kClips);
  const std::vector<double> features = m.Forward();
  m.context->mode = Mode::kEval;
  EXPECT_EQ(m.Forward(), features);
  EXPECT_LE(m.context->activations.used_bytes(),
            static_cast<int64_t>(features.size() * sizeof(double)) + Buffer::kAlignment);
}

TEST(AudioEncoderTest, TheShapeOnlyDevicePredictsTheBytes) {
  Harness real(SmallConfig(), kClips);
  real.Forward();
  real.Backward();

  Arena activations = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Arena inputs = Arena::Counting(MemoryLabel::kData);
  MemoryLedger memory;
  Stream stream({DeviceKind::kShapeOnly}, workspace);
  ModuleContext context{.stream = stream, .activations = activations};
  const auto store =
      ParameterStore::Create(real.store->table(), {}, {DeviceKind::kShapeOnly}, memory).value();
  const AudioEncoder encoder = AudioEncoder::Create(real.config, "", {}, *store, nullptr).value();
  AudioEncoder::Saved saved;
  const TensorView frames = inputs.Allocate(DType::kF64, {18, 3}).value();
  const absl::StatusOr<TensorView> features =
      encoder.Forward(context, {.frames = frames, .lengths = kClips}, {}, saved);
  ASSERT_THAT(features, IsOk());
  ASSERT_THAT(encoder.Backward(context, saved, *features, {}), IsOk());
  EXPECT_EQ(activations.peak_bytes(), real.context->activations.peak_bytes());
  EXPECT_EQ(workspace.peak_bytes(), real.context->stream.workspace().peak_bytes());
  EXPECT_EQ(stream.ledger().total_flops(), real.context->stream.ledger().total_flops());
}

TEST(AudioEncoderTest, NamesWhatDoesNotFit) {
  Harness m(SmallConfig(), kClips);
  const auto forward = [&](std::vector<int32_t> lengths) {
    return m.stages[0].Forward(*m.context, {.frames = m.Clips().frames, .lengths = lengths}, {},
                               m.saved[0]);
  };
  EXPECT_THAT(forward({7, 1, 8}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("3 clips of 16 frames"), HasSubstr("f64[18,3]"))));
  EXPECT_THAT(forward({7, 21}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("clip 1 has 21 frames; expected 1 to max_frames 20")));
  EXPECT_THAT(forward({0, 18}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("clip 0 has 0 frames")));
}

// Whisper's tiny and large encoders, with the bias of keys that they leave out and without the
// table of positions that they store.
TEST(AudioEncoderTest, ParameterCounts) {
  const auto count = [](int64_t layers, int64_t width, int64_t heads, int64_t mels) {
    const AudioConfig config{
        .num_layers = layers,
        .layer = {.hidden_size = width, .num_heads = heads, .head_dim = 64, .ffn_size = 4 * width},
        .num_mels = mels,
        .max_frames = 3000};
    return ParameterTable::Make(AudioEncoder::Parameters(config, "", 1)).value().num_parameters();
  };
  EXPECT_EQ(count(4, 384, 6, 80), 8208384 - 1500 * 384 + 4 * 384);
  EXPECT_EQ(count(32, 1280, 20, 128), 636968960 - 1500 * 1280 + 32 * 1280);
}

}  // namespace
}  // namespace hetero
