#ifndef HETERO_MODELS_VLM_VISION_HARNESS_H_
#define HETERO_MODELS_VLM_VISION_HARNESS_H_

// An image encoder before a language model, for tests: their stages by hand on one rank.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/blocks/projector/encoder_stage.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/token_batch.h"
#include "hetero/models/vlm/multimodal_model.h"

namespace hetero::vision_harness {

inline constexpr int32_t kRow = TestTokens::kPlaceholder;
inline constexpr int32_t kNone = TestTokens::kMasked;

struct Trains {
  bool encoder = true;
  bool projector = true;
  bool language = true;
};

inline VisionConfig SmallVision(ProjectorConfig::Kind kind, Trains trains = {}) {
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

inline HybridConfig SmallLanguage(Trains trains = {}) {
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

inline const Batch kFirst = {.sizes = {{8, 8}},
                             .tokens = {.num_rows = 1,
                                        .row_length = 8,
                                        .ids = {kRow, kRow, kRow, kRow, 7, 8, 9, 0},
                                        .targets = {kNone, kNone, kNone, 7, 8, 9, kNone, kNone}}};
inline const Batch kSecond = {.sizes = {{4, 12}},
                              .tokens = {.num_rows = 1,
                                         .row_length = 8,
                                         .ids = {3, kRow, kRow, kRow, 1, 8, 2, 30},
                                         .targets = {kNone, kNone, kNone, 1, 8, 2, 30, 5}}};
inline const Batch kTextOnly = {.sizes = {},
                                .tokens = {.num_rows = 1,
                                           .row_length = 8,
                                           .ids = {3, 1, 4, 1, 5, 9, 2, 6},
                                           .targets = {1, 4, 1, 5, 9, 2, 6, kNone}}};

inline Batch Together(const Batch& a, const Batch& b) {
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
      ASSERT_THAT(out, ::absl_testing::IsOk());
      rows.push_back(*out);
    }
    kept_by_encoder = context->activations.used_bytes();
    ASSERT_THAT(
        language->Forward(*context, 0, {.tokens = &**tokens, .edges = std::span(&rows.back(), 1)}),
        ::absl_testing::IsOk());
  }

  void Backward() {
    const auto like = [&](const ConstTensorView& view) {
      return context->activations.Allocate(view.dtype(), view.dims()).value();
    };
    TensorView gradient = like(rows.back());
    ASSERT_THAT(language->Backward(*context, 0, {}, {.edges = {&gradient, 1}}),
                ::absl_testing::IsOk());
    for (size_t s = encoder.size(); s-- > 0;) {
      TensorView below;
      if (s > 0) below = like(rows[s - 1]);
      ASSERT_THAT(encoder[s]->Backward(*context, 0, gradient, {.previous_stage = below}),
                  ::absl_testing::IsOk());
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

inline std::vector<double> Pixels(const Batch& batch, uint64_t seed) {
  int64_t patches = 0;
  for (const ImageSize& size : batch.sizes) patches += size.height * size.width / 4;
  std::vector<double> pixels(patches * 12);
  pixels.reserve(1);
  FillRandom(TensorView(pixels.data(), DType::kF64, {patches * 12}), seed, 1);
  return pixels;
}

inline std::vector<CheckedTensor> AllGradients(const Harness& m) {
  std::vector<CheckedTensor> all;
  for (const auto& store : m.stores) {
    for (CheckedTensor& tensor : CheckedParameters(*store)) all.push_back(std::move(tensor));
  }
  return all;
}

}  // namespace hetero::vision_harness

#endif  // HETERO_MODELS_VLM_VISION_HARNESS_H_
