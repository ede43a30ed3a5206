#include "hetero/models/radio/encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

RadioConfig SmallConfig() {
  return {.num_layers = 2,
          .layer = {.hidden_size = 8,
                    .num_heads = 2,
                    .head_dim = 4,
                    .ffn_size = 12,
                    .storage = DType::kF64},
          .patch_size = 2,
          .max_image_side = 8,
          .num_class_tokens = 2};
}

// Gated networks, no bias of queries, keys and values, scales of the channels.
RadioConfig OtherConfig() {
  RadioConfig config = SmallConfig();
  config.layer.swiglu = true;
  config.layer.qkv_bias = false;
  config.layer.layer_scale_init = 0.5;
  return config;
}

// Parameters, random everywhere, of all stages, and a batch of images.
struct Harness {
  explicit Harness(const RadioConfig& radio_config, std::vector<ImageSize> image_sizes,
                   int num_stages = 1)
      : config(radio_config), sizes(std::move(image_sizes)) {
    uint64_t seed = 1;
    for (const auto& parameter : store->parameters()) {
      FillRandom(parameter->value, seed++, 0.5, 0.1);
    }
    for (int s = 0; s < num_stages; ++s) {
      stages.push_back(
          RadioEncoder::Create(config, "", {.stage = s, .num_stages = num_stages}, *store, nullptr)
              .value());
    }
    saved.resize(num_stages);
    FillRandom(TensorView(std::span<double>(pixels), {num_patches(), config.patch_features()}), 90,
               1);
    FillRandom(TensorView(std::span<double>(probe), {num_patches() / 4, config.feature_width()}),
               91, 1);
  }

  int64_t num_patches() const {
    return ImageLayout{.sizes = sizes, .patch_size = config.patch_size}.num_patches();
  }
  ImageBatch Images() const {
    return {.patches = {pixels.data(), DType::kF64, {num_patches(), config.patch_features()}},
            .sizes = sizes};
  }
  absl::StatusOr<TensorView> Run() {
    TensorView hidden;
    for (size_t s = 0; s < stages.size(); ++s) {
      absl::StatusOr<TensorView> out = stages[s].Forward(*context, Images(), hidden, saved[s]);
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
    TensorView gradient(std::span<double>(d_output), {num_patches() / 4, config.feature_width()});
    const int64_t tokens = saved[0].layout.num_tokens(), c = config.layer.hidden_size;
    for (size_t s = stages.size(); s-- > 0;) {
      TensorView upstream;
      if (s > 0) upstream = context->activations.Allocate(DType::kF64, {tokens, c}).value();
      ASSERT_THAT(stages[s].Backward(*context, saved[s], gradient, upstream), IsOk());
      gradient = upstream;
    }
  }

  RadioConfig config;
  std::vector<ImageSize> sizes;
  MemoryLedger memory;
  std::unique_ptr<ParameterStore> store =
      ParameterStore::Create(ParameterTable::Make(RadioEncoder::Parameters(config, "", 1)).value(),
                             {}, {}, memory)
          .value();
  std::vector<RadioEncoder> stages;
  std::vector<RadioEncoder::Saved> saved;
  std::vector<double> pixels = std::vector<double>(num_patches() * config.patch_features());
  std::vector<double> probe = std::vector<double>(num_patches() * config.layer.hidden_size);
  TestContext context;
};

const std::vector<ImageSize> kTwoImages = {{8, 8}, {4, 12}};

TEST(RadioEncoderTest, GradientsMatchDifferences) {
  for (const bool final_norm : {true, false}) {
    RadioConfig config = SmallConfig();
    config.final_norm = final_norm;
    config.num_class_tokens = final_norm ? 2 : 0;
    config.layer.gelu = final_norm ? GeluForm::kErf : GeluForm::kTanh;
    Harness m(config, kTwoImages);
    m.Forward();
    m.Backward();
    CheckGradients([&] { return m.Loss(); }, CheckedParameters(*m.store));
  }
}

TEST(RadioEncoderTest, GradientsOfScaledGatedLayersMatchDifferences) {
  Harness m(OtherConfig(), kTwoImages);
  m.Forward();
  m.Backward();
  CheckGradients([&] { return m.Loss(); }, CheckedParameters(*m.store));
}

// With scales of one a layer is what it is without.
TEST(RadioEncoderTest, ScalesOfOneChangeNothing) {
  RadioConfig config = SmallConfig();
  Harness plain(config, kTwoImages);
  config.layer.layer_scale_init = 1;
  Harness scaled(config, kTwoImages);
  for (const auto& parameter : scaled.store->parameters()) {
    const auto values = parameter->value.values<double>();
    const absl::StatusOr<Parameter*> same = plain.store->Find(parameter->spec->name);
    if (same.ok()) {
      std::ranges::copy((*same)->value.values<double>(), values.begin());
    } else {
      EXPECT_THAT(parameter->spec->name,
                  testing::AnyOf(testing::EndsWith(".ls1"), testing::EndsWith(".ls2")));
      std::ranges::fill(values, 1.0);
    }
  }
  EXPECT_THAT(scaled.Forward(), IsCloseTo(plain.Forward(), {.absolute = 1e-12}));
}

// The published gated network by its formula: one layer whose attention adds nothing.
TEST(RadioEncoderTest, GatesAreTheFirstRows) {
  RadioConfig config = OtherConfig();
  config.num_layers = 1;
  config.final_norm = false;
  config.layer.layer_scale_init = 0;
  Harness m(config, {{4, 4}});
  const auto values = [&](const std::string& name) {
    return m.store->Find(name).value()->value.values<double>();
  };
  const std::string layer = "decoder.layers.0.";
  for (const char* name :
       {"self_attention.linear_proj.weight", "self_attention.linear_proj.bias"}) {
    std::ranges::fill(values(layer + name), 0.0);
  }
  const auto norm = values(layer + "mlp.linear_fc1.layer_norm_weight");
  const auto shift = values(layer + "mlp.linear_fc1.layer_norm_bias");
  const auto w1 = values(layer + "mlp.linear_fc1.weight"),
             b1 = values(layer + "mlp.linear_fc1.bias");
  const auto w2 = values(layer + "mlp.linear_fc2.weight"),
             b2 = values(layer + "mlp.linear_fc2.bias");
  const std::vector<double> with = m.Forward();
  const std::vector<double> output(w2.begin(), w2.end()), bias(b2.begin(), b2.end());
  std::ranges::fill(w2, 0.0);
  std::ranges::fill(b2, 0.0);
  const std::vector<double> stream = m.Forward();  // four patches in a row of features
  std::vector<double> expected = stream;
  for (int patch = 0; patch < 4; ++patch) {
    const std::span x = std::span(stream).subspan(8 * patch, 8);
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / 8;
    double variance = 0;
    for (const double value : x) variance += (value - mean) * (value - mean) / 8;
    for (int f = 0; f < 12; ++f) {
      double gate = b1[f], up = b1[12 + f];
      for (int c = 0; c < 8; ++c) {
        const double normed =
            (x[c] - mean) / std::sqrt(variance + config.layer.norm_epsilon) * norm[c] + shift[c];
        gate += w1[f * 8 + c] * normed;
        up += w1[(12 + f) * 8 + c] * normed;
      }
      const double activated = gate / (1 + std::exp(-gate)) * up;
      for (int c = 0; c < 8; ++c) expected[8 * patch + c] += output[c * 12 + f] * activated;
    }
    for (int c = 0; c < 8; ++c) expected[8 * patch + c] += bias[c];
  }
  EXPECT_THAT(with, IsCloseTo(expected, {.absolute = 1e-11}));
}

TEST(RadioEncoderTest, AnImageDoesNotSeeItsNeighbours) {
  Harness both(SmallConfig(), kTwoImages);
  const std::vector<double> packed = both.Forward();
  size_t first_pixel = 0, first_feature = 0;
  for (const ImageSize& size : kTwoImages) {
    Harness one(SmallConfig(), {size});
    std::copy_n(both.pixels.begin() + first_pixel, one.pixels.size(), one.pixels.begin());
    const std::vector<double> alone = one.Forward();
    EXPECT_THAT(alone, IsCloseTo(std::span(packed).subspan(first_feature, alone.size()),
                                 {.absolute = 1e-12}));
    first_pixel += one.pixels.size();
    first_feature += alone.size();
  }
  EXPECT_EQ(first_feature, packed.size());
}

TEST(RadioEncoderTest, ForwardTwiceIsTheSame) {
  Harness m(SmallConfig(), kTwoImages);
  const std::vector<double> features = m.Forward();
  const std::vector<int32_t> segments = m.saved[0].segments;
  EXPECT_EQ(m.Forward(), features);
  EXPECT_EQ(m.saved[0].segments, segments);
  EXPECT_THAT(segments, testing::ElementsAre(0, 18, 32));
}

TEST(RadioEncoderTest, StagesInARowAreTheWhole) {
  Harness whole(SmallConfig(), kTwoImages), split(SmallConfig(), kTwoImages, 2);
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

TEST(RadioEncoderTest, NoImagesGiveNoRowsAndZeroGradients) {
  Harness m(SmallConfig(), {});
  EXPECT_TRUE(m.Forward().empty());
  m.Backward();
  for (const auto& parameter : m.store->parameters()) {
    EXPECT_THAT(parameter->gradient.values<double>(), testing::Each(0.0)) << parameter->spec->name;
  }
}

class RadioOptionsTest : public testing::TestWithParam<RadioConfig> {};

INSTANTIATE_TEST_SUITE_P(Configs, RadioOptionsTest, testing::Values(SmallConfig(), OtherConfig()));

TEST_P(RadioOptionsTest, EvaluationKeepsOnlyTheResult) {
  Harness m(GetParam(), kTwoImages);
  const std::vector<double> features = m.Forward();
  m.context->mode = Mode::kEval;
  EXPECT_EQ(m.Forward(), features);
  EXPECT_LE(m.context->activations.used_bytes(),
            static_cast<int64_t>(features.size() * sizeof(double)) + Buffer::kAlignment);
}

TEST_P(RadioOptionsTest, TheShapeOnlyDevicePredictsTheBytes) {
  Harness real(GetParam(), kTwoImages);
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
  const RadioEncoder encoder = RadioEncoder::Create(real.config, "", {}, *store, nullptr).value();
  RadioEncoder::Saved saved;
  const TensorView pixels = inputs.Allocate(DType::kF64, {28, 12}).value();
  const absl::StatusOr<TensorView> features =
      encoder.Forward(context, {.patches = pixels, .sizes = real.sizes}, {}, saved);
  ASSERT_THAT(features, IsOk());
  ASSERT_THAT(encoder.Backward(context, saved, *features, {}), IsOk());
  EXPECT_EQ(activations.peak_bytes(), real.context->activations.peak_bytes());
  EXPECT_EQ(workspace.peak_bytes(), real.context->stream.workspace().peak_bytes());
  EXPECT_EQ(stream.ledger().total_flops(), real.context->stream.ledger().total_flops());
}

TEST(RadioEncoderTest, NamesWhatDoesNotFit) {
  Harness m(SmallConfig(), kTwoImages);
  m.sizes[1] = {4, 8};
  const ImageBatch images = {.patches = {m.pixels.data(), DType::kF64, {28, 12}}, .sizes = m.sizes};
  EXPECT_THAT(m.stages[0].Forward(*m.context, images, {}, m.saved[0]),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("2 images of 24 patches"), HasSubstr("f64[28,12]"))));
  m.sizes[1] = {4, 6};
  EXPECT_THAT(m.stages[0].Forward(*m.context, images, {}, m.saved[0]),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("image 1 is 4x6")));
}

int64_t Count(const RadioConfig& config) {
  return ParameterTable::Make(RadioEncoder::Parameters(config, "", 1)).value().num_parameters();
}

TEST(RadioEncoderTest, ParameterCounts) {
  RadioConfig huge{
      .num_layers = 32,
      .layer = {.hidden_size = 1280, .num_heads = 16, .head_dim = 80, .ffn_size = 5120},
      .patch_size = 16,
      .max_image_side = 2048,
      .num_class_tokens = 8};
  EXPECT_EQ(Count(huge), 651645440);
  huge.num_class_tokens = 10;
  EXPECT_EQ(Count(huge), 651648000);
  EXPECT_EQ(Count({.num_layers = 2,
                   .layer = {.hidden_size = 64, .num_heads = 4, .head_dim = 16, .ffn_size = 256},
                   .patch_size = 14,
                   .max_image_side = 2048 / 14 * 14,
                   .num_class_tokens = 0,
                   .final_norm = false}),
            1501824);
}

}  // namespace
}  // namespace hetero
