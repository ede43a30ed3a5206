#include "hetero/models/blocks/encoder_layers/encoder_layers.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/run_layers.h"

namespace hetero {
namespace {

constexpr std::string_view kFinalNormWeight = "decoder.final_layernorm.weight";
constexpr std::string_view kFinalNormBias = "decoder.final_layernorm.bias";

std::string LayerPrefix(std::string_view prefix, int64_t layer) {
  return absl::StrCat(prefix, "decoder.layers.", layer, ".");
}

int NumberOf(int64_t layer) { return 1 + static_cast<int>(layer); }

int StageOf(int64_t layer, const EncoderLayersConfig& config, int num_stages) {
  return static_cast<int>(layer * num_stages / config.num_layers);
}

}  // namespace

std::vector<ParameterSpec> EncoderLayers::Parameters(const EncoderLayersConfig& config,
                                                     std::string_view prefix, int num_stages) {
  std::vector<ParameterSpec> specs;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (ParameterSpec& spec : EncoderLayer::Parameters(config.layer, LayerPrefix(prefix, layer))) {
      spec.stage = StageOf(layer, config, num_stages);
      spec.layer = NumberOf(layer);
      specs.push_back(std::move(spec));
    }
  }
  if (!config.final_norm) return specs;
  for (const auto& [name, value] : {std::pair{kFinalNormWeight, 1}, {kFinalNormBias, 0}}) {
    specs.push_back({.name = absl::StrCat(prefix, name),
                     .shape = {config.layer.hidden_size},
                     .storage = config.layer.storage,
                     .init = Init::Constant(value),
                     .partial_over_tp = true,
                     .decay = false,
                     .stage = num_stages - 1,
                     .layer = kLastLayer});
  }
  return specs;
}

absl::StatusOr<EncoderLayers> EncoderLayers::Create(const EncoderLayersConfig& config,
                                                    std::string_view prefix, StagePlace place,
                                                    ParameterStore& parameters,
                                                    SequenceParallel sequence) {
  EncoderLayers layers;
  layers.norm_epsilon_ = config.layer.norm_epsilon;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (StageOf(layer, config, place.num_stages) != place.stage) continue;
    HETERO_ASSIGN_OR_RETURN(
        const EncoderLayer made,
        EncoderLayer::Create(config.layer, LayerPrefix(prefix, layer), parameters, sequence));
    if (layers.layers_.empty()) layers.first_number_ = NumberOf(layer);
    layers.layers_.push_back(made);
  }
  if (place.last() && config.final_norm) {
    HETERO_ASSIGN_OR_RETURN(layers.final_norm_.weight_C,
                            parameters.Find(absl::StrCat(prefix, kFinalNormWeight)));
    HETERO_ASSIGN_OR_RETURN(layers.final_norm_.bias_C,
                            parameters.Find(absl::StrCat(prefix, kFinalNormBias)));
  }
  return layers;
}

absl::StatusOr<ConstTensorView> EncoderLayers::Forward(ModuleContext& context,
                                                       ConstTensorView hidden_RC,
                                                       std::span<const int32_t> segments,
                                                       Saved& saved) const {
  saved.layers.resize(layers_.size());
  HETERO_ASSIGN_OR_RETURN(
      hidden_RC,
      RunLayers(context, hidden_RC, std::ssize(layers_),
                [&](ModuleContext& of_layer, int64_t i,
                    ConstTensorView input_RC) -> absl::StatusOr<ConstTensorView> {
                  HETERO_RETURN_IF_ERROR(of_layer.BeginLayer(first_number_ + static_cast<int>(i)));
                  return layers_[i].Forward(of_layer, input_RC, segments, saved.layers[i]);
                }));
  if (final_norm_.weight_C == nullptr) return hidden_RC;
  HETERO_RETURN_IF_ERROR(context.BeginLayer(kLastLayer));
  return ApplyLayerNorm(context, hidden_RC, final_norm_, norm_epsilon_, saved.final_norm);
}

absl::Status EncoderLayers::Backward(ModuleContext& context, const Saved& saved,
                                     TensorView d_hidden_RC) const {
  if (final_norm_.weight_C != nullptr) {
    HETERO_RETURN_IF_ERROR(
        LayerNormGradient(context, saved.final_norm, d_hidden_RC, {}, d_hidden_RC, final_norm_));
  }
  HETERO_RETURN_IF_ERROR(context.EndLayer(kLastLayer));
  for (size_t i = layers_.size(); i-- > 0;) {
    HETERO_RETURN_IF_ERROR(layers_[i].Backward(context, saved.layers[i], d_hidden_RC));
    const int number = first_number_ + static_cast<int>(i);
    HETERO_RETURN_IF_ERROR(context.LayerReadGradient(number, d_hidden_RC));
    HETERO_RETURN_IF_ERROR(context.EndLayer(number));
  }
  return absl::OkStatus();
}

}  // namespace hetero
