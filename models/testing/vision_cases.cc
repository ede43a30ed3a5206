#include <array>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/encoder_layers/encoder_layer.h"
#include "hetero/models/blocks/projector/projector.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/testing/module_cases.h"

namespace hetero {
namespace {

constexpr int64_t kHidden = 64;

EncoderLayerConfig Layer(DType storage, GeluForm gelu = GeluForm::kTanh) {
  return {.hidden_size = kHidden,
          .num_heads = 4,
          .head_dim = 16,
          .ffn_size = 96,
          .gelu = gelu,
          .storage = storage};
}

// Gated, without a bias of queries, keys and values, scaled.
EncoderLayerConfig OtherLayer(DType storage) {
  EncoderLayerConfig config = Layer(storage);
  config.swiglu = true;
  config.qkv_bias = false;
  config.layer_scale_init = 0.5;
  return config;
}

absl::Status RunLayer(ModuleRig& rig, const EncoderLayerConfig& config) {
  static constexpr std::array<int32_t, 4> kImages = {0, 18, 19, 66};
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(EncoderLayer::Parameters(config, "")));
  ParameterStore& parameters = rig.MakeParameters(table);
  HETERO_ASSIGN_OR_RETURN(const EncoderLayer layer,
                          EncoderLayer::Create(config, "", parameters, nullptr));
  const TensorView hidden_SC = rig.Normal(kImages.back(), kHidden);
  const TensorView d_hidden_SC = rig.Normal(kImages.back(), kHidden);
  EncoderLayer::Saved saved;
  HETERO_ASSIGN_OR_RETURN(const TensorView out_SC,
                          layer.Forward(rig.context(), hidden_SC, kImages, saved));
  rig.Keep("out", out_SC);
  HETERO_RETURN_IF_ERROR(layer.Backward(rig.context(), saved, d_hidden_SC));
  rig.Keep("d hidden", d_hidden_SC);
  return rig.KeepGradients(parameters);
}

// Two stages of a layer each: the second has an upstream gradient, the first has the embedder.
absl::Status RunEncoder(ModuleRig& rig, const EncoderLayerConfig& layer) {
  static const std::array<ImageSize, 2> kSizes = {ImageSize{32, 32}, ImageSize{16, 24}};
  constexpr int64_t kPatches = 8 * 8 + 4 * 6, kClassTokens = 2;
  const RadioConfig config = {.num_layers = 2,
                              .layer = layer,
                              .patch_size = 4,
                              .max_image_side = 32,
                              .num_class_tokens = kClassTokens};
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(RadioEncoder::Parameters(config, "", 2)));
  ParameterStore& parameters = rig.MakeParameters(table);
  const ImageBatch images = {.patches = rig.Normal(kPatches, config.patch_features()),
                             .sizes = kSizes};
  const TensorView d_features = rig.Normal(kPatches / 4, config.feature_width());
  const TensorView d_hidden_SC = rig.Normal(kPatches + 2 * kClassTokens, kHidden);
  std::vector<RadioEncoder> stages;
  std::array<RadioEncoder::Saved, 2> saved;
  TensorView out;
  for (int s = 0; s < 2; ++s) {
    HETERO_ASSIGN_OR_RETURN(
        RadioEncoder stage,
        RadioEncoder::Create(config, "", {.stage = s, .num_stages = 2}, parameters, nullptr));
    stages.push_back(std::move(stage));
    HETERO_ASSIGN_OR_RETURN(out, stages[s].Forward(rig.context(), images, out, saved[s]));
  }
  rig.Keep("features", out);
  HETERO_RETURN_IF_ERROR(stages[1].Backward(rig.context(), saved[1], d_features, d_hidden_SC));
  rig.Keep("d hidden", d_hidden_SC);
  HETERO_RETURN_IF_ERROR(stages[0].Backward(rig.context(), saved[0], d_hidden_SC, {}));
  return rig.KeepGradients(parameters);
}

absl::Status RunProjector(ModuleRig& rig, ProjectorConfig config) {
  constexpr int64_t kRows = 30;
  config.input_size = 4 * kHidden;
  config.ffn_size = 96;
  config.output_size = kHidden;
  config.storage = rig.storage();
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(Projector::Parameters(config, "", 0)));
  ParameterStore& parameters = rig.MakeParameters(table);
  HETERO_ASSIGN_OR_RETURN(const Projector projector,
                          Projector::Create(config, "", parameters, nullptr));
  const TensorView input_ND = rig.Normal(kRows, config.input_size);
  const TensorView d_input_ND = rig.Normal(kRows, config.input_size);  // overwritten
  const TensorView d_output_NH = rig.Normal(kRows, config.output_size);
  Projector::Saved saved;
  HETERO_ASSIGN_OR_RETURN(const TensorView out,
                          projector.Forward(rig.context(), input_ND, kRows, saved));
  rig.Keep("out", out);
  HETERO_RETURN_IF_ERROR(projector.Backward(rig.context(), saved, d_output_NH, d_input_ND));
  rig.Keep("d input", d_input_ND);
  return rig.KeepGradients(parameters);
}

}  // namespace

std::vector<ModuleCase> VisionCases() {
  return {
      // normed, qkv, scores, probabilities, output, hidden, normed, inner, activated; their
      // gradients, the scores' twice.
      {.name = "EncoderLayer",
       .roundings = 20,
       .longest_sum = 96,
       .run = [](ModuleRig& rig) { return RunLayer(rig, Layer(rig.storage())); }},
      {.name = "EncoderLayerWithErf",
       .roundings = 20,
       .longest_sum = 96,
       .run = [](ModuleRig& rig) { return RunLayer(rig, Layer(rig.storage(), GeluForm::kErf)); }},
      // And the two branches before they are scaled.
      {.name = "ScaledGatedEncoderLayer",
       .roundings = 24,
       .longest_sum = 96,
       .run = [](ModuleRig& rig) { return RunLayer(rig, OtherLayer(rig.storage())); }},
      // Two layers, patches, their sum with the positions, the last norm; their gradients.
      {.name = "RadioEncoder",
       .roundings = 46,
       .longest_sum = 96,
       .run = [](ModuleRig& rig) { return RunEncoder(rig, Layer(rig.storage())); }},
      {.name = "ScaledGatedRadioEncoder",
       .roundings = 54,
       .longest_sum = 96,
       .run = [](ModuleRig& rig) { return RunEncoder(rig, OtherLayer(rig.storage())); }},
      // The result, or the gradient.
      {.name = "AffineProjector",
       .roundings = 1,
       .longest_sum = 256,
       .run =
           [](ModuleRig& rig) {
             return RunProjector(rig, {.kind = ProjectorConfig::Kind::kAffine});
           },
       .recomputes = false},
      // normed, inner twice, activated; their gradients.
      {.name = "MlpProjector",
       .roundings = 9,
       .longest_sum = 256,
       .run =
           [](ModuleRig& rig) {
             return RunProjector(rig, {.kind = ProjectorConfig::Kind::kMlp, .rms_norm = true});
           }},
  };
}

}  // namespace hetero
