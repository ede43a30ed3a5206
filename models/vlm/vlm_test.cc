#include "hetero/models/vlm/vlm.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/blocks/projector/encoder_stage.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int32_t kRow = TestTokens::kPlaceholder;
constexpr int32_t kNone = TestTokens::kMasked;

struct Trains {
  bool encoder = true;
  bool projector = true;
  bool language = true;
};

VisionConfig SmallVision(ProjectorConfig::Kind kind, Trains trains = {}) {
  const RadioConfig encoder{.num_layers = 2,
                            .layer = {.hidden_size = 8,
                                      .num_heads = 2,
                                      .head_dim = 4,
                                      .ffn_size = 12,
                                      .storage = DType::kF64},
                            .patch_size = 2,
                            .max_image_side = 8,
                            .num_class_tokens = 2};
  return {.encoder = encoder,
          .projector = {.kind = kind,
                        .rms_norm = kind == ProjectorConfig::Kind::kMlp,
                        .input_size = encoder.feature_width(),
                        .ffn_size = 10,
                        .output_size = 8,
                        .storage = DType::kF64},
          .train_encoder = trains.encoder,
          .train_projector = trains.projector};
}

HybridConfig SmallLanguage(Trains trains = {}) {
  return {.pattern = LayerPattern::Parse("*-").value(),
          .hidden_size = 8,
          .vocabulary_size = 40,
          .storage = DType::kF64,
          .trainable = trains.language,
          .attention = {.hidden_size = 8,
                        .num_heads = 2,
                        .num_kv_groups = 1,
                        .head_dim = 4,
                        .storage = DType::kF64},
          .mlp = {.hidden_size = 8, .ffn_size = 10, .storage = DType::kF64}};
}

// Images, and rows of eight tokens, each with the places of one image's rows and a text.
struct Batch {
  std::vector<ImageSize> sizes;
  TestTokens tokens;
};

const Batch kFirst = {.sizes = {{8, 8}},
                      .tokens = {.num_rows = 1,
                                 .row_length = 8,
                                 .ids = {kRow, kRow, kRow, kRow, 7, 8, 9, 0},
                                 .targets = {kNone, kNone, kNone, 7, 8, 9, kNone, kNone}}};
const Batch kSecond = {.sizes = {{4, 12}},
                       .tokens = {.num_rows = 1,
                                  .row_length = 8,
                                  .ids = {3, kRow, kRow, kRow, 1, 8, 2, 30},
                                  .targets = {kNone, kNone, kNone, 1, 8, 2, 30, 5}}};
const Batch kTextOnly = {.sizes = {},
                         .tokens = {.num_rows = 1,
                                    .row_length = 8,
                                    .ids = {3, 1, 4, 1, 5, 9, 2, 6},
                                    .targets = {1, 4, 1, 5, 9, 2, 6, kNone}}};

Batch Together(const Batch& a, const Batch& b) {
  Batch both = a;
  both.sizes.insert(both.sizes.end(), b.sizes.begin(), b.sizes.end());
  both.tokens.num_rows += b.tokens.num_rows;
  both.tokens.ids.insert(both.tokens.ids.end(), b.tokens.ids.begin(), b.tokens.ids.end());
  both.tokens.targets.insert(both.tokens.targets.end(), b.tokens.targets.begin(),
                             b.tokens.targets.end());
  return both;
}

// Encoder stages and a language stage, chained by hand on one rank.
struct Harness {
  Harness(const VisionConfig& vision, const HybridConfig& language_config, int encoder_stages = 1) {
    const ParameterTable table = MakeEncoderTable<RadioEncoder>(vision, encoder_stages).value();
    for (int s = 0; s < encoder_stages; ++s) Add(table.Stage(s));
    Add(MakeHybridTable(language_config, {}).value());
    for (int s = 0; s < encoder_stages; ++s) {
      encoder.push_back(EncoderStage<RadioEncoder>::Create(
                            vision, {.stage = s, .num_stages = encoder_stages},
                            {.parameters = *stores[s], .device = {}, .ledger = memory})
                            .value());
    }
    language = HybridStage::Create(language_config, {},
                                   {.parameters = *stores.back(), .device = {}, .ledger = memory})
                   .value();
  }

  void Add(const ParameterTable& table) {
    stores.push_back(ParameterStore::Create(table, {}, {}, memory).value());
    for (const auto& parameter : stores.back()->parameters()) {
      FillRandom(parameter->value, seed++, 0.4, 0.1);
      if (!parameter->gradient.is_null()) {
        std::ranges::fill(parameter->gradient.values<double>(),
                          std::numeric_limits<double>::quiet_NaN());
      }
    }
  }

  // `pixels` are those of the images, one after another.
  void Forward(const Batch& batch, std::vector<double>& pixels) {
    pixels.reserve(1);
    const ModalityBatch images{
        .features = {pixels.data(), DType::kF64, {std::ssize(pixels) / 12, 12}},
        .sizes = batch.sizes};
    tokens = std::make_unique<TestTokenBatch<double>>(batch.tokens);
    context.Reset();
    rows.clear();
    for (const auto& stage : encoder) {
      StageInput input{.modalities = {&images, 1}};
      if (!rows.empty()) input.previous_stage = rows.back();
      const absl::StatusOr<TensorView> out = stage->Forward(*context, 0, input);
      ASSERT_THAT(out, IsOk());
      rows.push_back(*out);
    }
    kept_by_encoder = context->activations.used_bytes();
    ASSERT_THAT(
        language->Forward(*context, 0, {.tokens = &**tokens, .edges = std::span(&rows.back(), 1)}),
        IsOk());
  }

  void Backward() {
    const auto like = [&](const ConstTensorView& view) {
      return context->activations.Allocate(view.dtype(), view.dims()).value();
    };
    TensorView gradient = like(rows.back());
    ASSERT_THAT(language->Backward(*context, 0, {}, {.edges = {&gradient, 1}}), IsOk());
    for (size_t s = encoder.size(); s-- > 0;) {
      TensorView below;
      if (s > 0) below = like(rows[s - 1]);
      ASSERT_THAT(encoder[s]->Backward(*context, 0, gradient, {.previous_stage = below}), IsOk());
      gradient = below;
    }
  }

  void Train(const Batch& batch, std::vector<double> pixels) {
    Forward(batch, pixels);
    Backward();
  }

  double Loss(const Batch& batch, std::vector<double>& pixels) {
    context->needs_weight_gradient = false;
    Forward(batch, pixels);
    context->needs_weight_gradient = true;
    return language->TakeStatistics(context->stream)->loss_sum;
  }

  uint64_t seed = 1;
  MemoryLedger memory;
  std::vector<std::unique_ptr<ParameterStore>> stores;
  std::vector<std::unique_ptr<Stage>> encoder;
  std::unique_ptr<HybridStage> language;
  std::unique_ptr<TestTokenBatch<double>> tokens;
  std::vector<ConstTensorView> rows;  // what each encoder stage returned
  int64_t kept_by_encoder = 0;        // bytes
  TestContext context;
};

std::vector<double> Pixels(const Batch& batch, uint64_t seed) {
  int64_t patches = 0;
  for (const ImageSize& size : batch.sizes) patches += size.height * size.width / 4;
  std::vector<double> pixels(patches * 12);
  pixels.reserve(1);
  FillRandom(TensorView(pixels.data(), DType::kF64, {patches * 12}), seed, 1);
  return pixels;
}

std::vector<CheckedTensor> AllGradients(const Harness& m) {
  std::vector<CheckedTensor> all;
  for (const auto& store : m.stores) {
    for (CheckedTensor& tensor : CheckedParameters(*store)) all.push_back(std::move(tensor));
  }
  return all;
}

class ProjectorKindTest : public ::testing::TestWithParam<ProjectorConfig::Kind> {};

TEST_P(ProjectorKindTest, GradientsMatchDifferencesFromLossToPatches) {
  Harness m(SmallVision(GetParam()), SmallLanguage());
  const Batch batch = Together(kFirst, kSecond);
  std::vector<double> pixels = Pixels(batch, 70);
  m.Train(batch, pixels);
  ASSERT_THAT(m.language->TakeStatistics(m.context->stream), IsOk());
  CheckGradients([&] { return m.Loss(batch, pixels); }, AllGradients(m));
}

TEST_P(ProjectorKindTest, TwoImagesInOneBatchEqualOneAfterTheOther) {
  Harness together(SmallVision(GetParam()), SmallLanguage());
  Harness apart(SmallVision(GetParam()), SmallLanguage());
  std::vector<double> first = Pixels(kFirst, 71), second = Pixels(kSecond, 72);
  apart.Train(kFirst, first);
  apart.Train(kSecond, second);
  first.insert(first.end(), second.begin(), second.end());
  together.Train(Together(kFirst, kSecond), first);
  const std::vector<CheckedTensor> expected = AllGradients(together), actual = AllGradients(apart);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_THAT(actual[i].gradient.values<double>(),
                IsCloseTo(expected[i].gradient.values<double>(), {.relative_to_max = 1e-12}))
        << actual[i].name;
  }
}

TEST_P(ProjectorKindTest, EncoderStagesInARowAreTheWhole) {
  Harness whole(SmallVision(GetParam()), SmallLanguage());
  Harness split(SmallVision(GetParam()), SmallLanguage(), /*encoder_stages=*/2);
  whole.Train(kFirst, Pixels(kFirst, 73));
  split.Train(kFirst, Pixels(kFirst, 73));
  const std::vector<CheckedTensor> expected = AllGradients(whole), actual = AllGradients(split);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].name, expected[i].name);
    EXPECT_TRUE(std::ranges::equal(actual[i].gradient.values<double>(),
                                   expected[i].gradient.values<double>()))
        << actual[i].name;
  }
}

TEST_P(ProjectorKindTest, TextAloneGivesTheEncoderExactlyZero) {
  Harness m(SmallVision(GetParam()), SmallLanguage());
  m.Train(kTextOnly, Pixels(kTextOnly, 1));
  for (const CheckedTensor& tensor : CheckedParameters(*m.stores[0])) {
    EXPECT_THAT(tensor.gradient.values<double>(), Each(0.0)) << tensor.name;
  }
  for (const CheckedTensor& tensor : CheckedParameters(*m.stores[1])) {
    EXPECT_THAT(tensor.gradient.values<double>(), testing::Contains(testing::Ne(0.0)))
        << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ProjectorKindTest,
                         ::testing::Values(ProjectorConfig::Kind::kAffine,
                                           ProjectorConfig::Kind::kMlp));

class FreezeTest
    : public ::testing::TestWithParam<std::tuple<bool, bool, bool, ProjectorConfig::Kind>> {};

// What trains gets the gradients it would get if everything did; the rest has none.
TEST_P(FreezeTest, TrainsTheRestAsIfNothingWereFrozen) {
  const auto& [encoder, projector, language, kind] = GetParam();
  const Trains trains{.encoder = encoder, .projector = projector, .language = language};
  Harness all(SmallVision(kind), SmallLanguage());
  Harness some(SmallVision(kind, trains), SmallLanguage(trains));
  all.Train(kFirst, Pixels(kFirst, 74));
  some.Train(kFirst, Pixels(kFirst, 74));
  for (size_t s = 0; s < all.stores.size(); ++s) {
    for (size_t i = 0; i < all.stores[s]->parameters().size(); ++i) {
      const Parameter& free = *all.stores[s]->parameters()[i];
      const Parameter& maybe_frozen = *some.stores[s]->parameters()[i];
      const std::string& name = free.spec->name;
      const bool trains_this = s == 1                         ? language
                               : name.starts_with("encoder.") ? encoder
                                                              : projector;
      EXPECT_EQ(maybe_frozen.gradient.is_null(), !trains_this) << name;
      if (!trains_this) continue;
      EXPECT_TRUE(std::ranges::equal(maybe_frozen.gradient.values<double>(),
                                     free.gradient.values<double>()))
          << name;
    }
  }
  EXPECT_EQ(some.memory.bytes(MemoryLabel::kMainGradients) > 0, encoder || projector || language);
}

INSTANTIATE_TEST_SUITE_P(Parts, FreezeTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values(ProjectorConfig::Kind::kAffine,
                                                              ProjectorConfig::Kind::kMlp)));

TEST(VisionStageTest, AFrozenEncoderKeepsOnlyItsFeatures) {
  const int64_t features = 4 * 32 * 8, rows = 4 * 8 * 8;
  for (const bool projector : {false, true}) {
    Harness m(
        SmallVision(ProjectorConfig::Kind::kAffine, {.encoder = false, .projector = projector}),
        SmallLanguage());
    std::vector<double> pixels = Pixels(kFirst, 75);
    m.Forward(kFirst, pixels);
    EXPECT_LE(m.kept_by_encoder, features + rows + 2 * Buffer::kAlignment);
  }
}

TEST(VisionStageTest, RowsThatDoNotMatchThePlaceholdersAreAnError) {
  Harness m(SmallVision(ProjectorConfig::Kind::kAffine), SmallLanguage());
  std::vector<double> pixels = Pixels(kFirst, 76);
  m.Forward(kFirst, pixels);
  const TestTokenBatch<double> three_placeholders(kSecond.tokens);
  EXPECT_THAT(
      m.language->Forward(*m.context, 0,
                          {.tokens = &*three_placeholders, .edges = std::span(&m.rows.back(), 1)}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("emitted 4 rows for 3 placeholders")));
}

proto::VisionLanguageModel SmallMessage() {
  proto::VisionLanguageModel config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(encoder {
           num_layers: 2 hidden_size: 8 num_heads: 2 head_dim: 4 ffn_size: 12 patch_size: 2
           max_image_side: 8 num_class_tokens: 2 norm_epsilon: 1e-6 final_norm: true init_std: 0.1
           output_init_std: 0.1 embedder_init_std: 0.1 class_token_init_std: 1
           position_init_std: 0.1
         }
         projector { kind: AFFINE norm: NONE init_std: 0.1 }
         language {
           pattern: "M" hidden_size: 12 vocabulary_size: 300 norm_epsilon: 1e-5 init_std: 0.1
           output_init_std: 0.1
           mamba {
             num_heads: 2 head_dim: 4 num_groups: 1 state_size: 4 conv_kernel: 4 chunk_size: 4
           }
         }
         image_token_id: 299)",
      &config));
  return config;
}

TEST(VisionLanguageModelTest, DescribesItsPartsAndWhatTheyRead) {
  const auto model = MakeVisionLanguageModel(SmallMessage()).value();
  EXPECT_THAT(model->graph().ModuleNames(), testing::ElementsAre("radio_encoder", "language"));
  EXPECT_EQ(model->graph().SampleOwner().name, "language");
  ASSERT_EQ(model->graph().edges.size(), 1u);
  EXPECT_EQ(model->graph().edges[0].source, "radio_encoder");
  EXPECT_EQ(model->graph().edges[0].destination, "language");
  EXPECT_EQ(model->graph().edges[0].width, 12);
  EXPECT_EQ(model->graph().Module("radio_encoder").hidden_width, 8);
  EXPECT_EQ(model->graph().Module("language").hidden_width, 12);
  // Images of 4 and 16 patches with 2 class tokens each, in a row of 20 tokens.
  const SampleFacts sample = {.row_length = 20,
                              .modalities = {{.num_tokens = 5, .sizes = {{4, 4}, {8, 8}}}}};
  EXPECT_EQ(model->RowsOnEdge(0, sample), 5);
  EXPECT_EQ(model->RowsBetweenStages("radio_encoder", sample), 24);
  EXPECT_EQ(model->RowsBetweenStages("language", sample), 20);
  const ModelGraph& graph = model->graph();
  EXPECT_EQ(graph.vocabulary_size, 300);
  EXPECT_THAT(graph.modalities, SizeIs(1));
  EXPECT_EQ(graph.modalities[0].placeholder_id, 299);
  const auto& form = std::get<ImageForm>(graph.modalities[0].form);
  EXPECT_EQ(form.patch_size, 2);
  EXPECT_EQ(form.max_image_side, 8);
  EXPECT_EQ(form.patches_per_token, 4);
  EXPECT_EQ(model->MakeTable("radio_encoder", {})->Find("projector.encoder.weight").value()->shape,
            (std::vector<int64_t>{12, 32}));
}

TEST(VisionLanguageModelTest, FreezingReachesTheTables) {
  proto::VisionLanguageModel config = SmallMessage();
  config.set_freeze_encoder(true);
  config.set_freeze_language(true);
  const auto model = MakeVisionLanguageModel(config).value();
  for (const char* module : {"radio_encoder", "language"}) {
    const ParameterTable table = model->MakeTable(module, {}).value();
    for (const ParameterSpec& spec : table.specs()) {
      EXPECT_EQ(spec.trainable, spec.name.starts_with("projector.")) << spec.name;
    }
  }
}

TEST(VisionLanguageModelTest, NamesSizesThatDoNotFit) {
  const auto error = [](auto change, auto matcher) {
    proto::VisionLanguageModel config = SmallMessage();
    change(config);
    EXPECT_THAT(MakeVisionLanguageModel(config),
                StatusIs(absl::StatusCode::kInvalidArgument, matcher));
  };
  error([](auto& config) { config.set_image_token_id(300); },
        HasSubstr("image_token_id is 300, must be below language.vocabulary_size 300; nearest: "
                  "image_token_id 299 or language.vocabulary_size 301"));
  error([](auto& config) { config.mutable_language()->clear_mamba(); },
        AllOf(HasSubstr("language.mamba is not set"), HasSubstr("'M' layers")));
  error([](auto& config) { config.mutable_projector()->set_kind(proto::Projector::MLP); },
        HasSubstr("projector.ffn_size is not set, an MLP projector needs it"));
  error(
      [](auto& config) {
        config.mutable_projector()->set_kind(proto::Projector::MLP);
        config.mutable_projector()->set_ffn_size(8);
      },
      HasSubstr("projector.output_init_std is not set"));
  error(
      [](auto& config) {
        config.mutable_projector()->set_kind(proto::Projector::MLP);
        config.mutable_projector()->set_norm(proto::Projector::RMS);
        config.mutable_projector()->set_ffn_size(8);
        config.mutable_projector()->set_output_init_std(0.1);
      },
      HasSubstr("projector.norm_epsilon is not set"));
  error([](auto& config) { config.mutable_projector()->set_norm(proto::Projector::RMS); },
        HasSubstr("projector.norm is RMS, an AFFINE projector has no norm; nearest: projector.norm "
                  "NONE or projector.kind MLP"));
  error([](auto& config) { config.mutable_language()->set_pattern("MQ"); },
        HasSubstr("position 1: unknown symbol 'Q'"));
  // All of them at once, by path.
  error(
      [](auto& config) {
        config.mutable_encoder()->set_max_image_side(30);
        config.mutable_encoder()->set_patch_size(4);
        config.mutable_language()->mutable_mamba()->set_num_heads(7);
        config.mutable_language()->mutable_mamba()->set_num_groups(2);
        config.mutable_language()->mutable_mamba()->set_conv_kernel(5);
      },
      AllOf(HasSubstr("encoder.max_image_side is 30, must be a multiple of encoder.patch_size 4; "
                      "nearest: encoder.max_image_side 28 or encoder.max_image_side 32 or "
                      "encoder.patch_size 3"),
            HasSubstr("language.mamba.num_heads is 7, must be a multiple of "
                      "language.mamba.num_groups 2; nearest: language.mamba.num_heads 6 or "
                      "language.mamba.num_heads 8 or language.mamba.num_groups 1"),
            HasSubstr("language.mamba.conv_kernel is 5, must be at most 4; nearest: 4")));
  error([](auto& config) { config.mutable_encoder()->set_patch_size(8); },
        HasSubstr("encoder.max_image_side is 8, must hold the 2 x 2 patches of a token"));
}

}  // namespace
}  // namespace hetero
