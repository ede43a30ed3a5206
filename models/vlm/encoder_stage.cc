#include "hetero/models/vlm/encoder_stage.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

constexpr std::string_view kEncoderPrefix = "encoder.";
constexpr std::string_view kProjectorPrefix = "projector.";

}  // namespace

absl::StatusOr<ParameterTable> MakeVisionTable(const VisionConfig& config, int num_stages) {
  const int64_t layers = config.encoder.num_layers;
  if (num_stages < 1 || layers % num_stages != 0) {
    int64_t nearest = std::clamp<int64_t>(num_stages, 1, layers);
    while (layers % nearest != 0) --nearest;
    return absl::InvalidArgumentError(absl::StrCat(layers, " encoder layers do not divide into ",
                                                   num_stages,
                                                   " pipeline stages; nearest: ", nearest));
  }
  std::vector<ParameterSpec> specs;
  const auto add = [&](std::vector<ParameterSpec> part, bool trainable) {
    for (ParameterSpec& spec : part) {
      spec.trainable = trainable;
      specs.push_back(std::move(spec));
    }
  };
  add(RadioEncoder::Parameters(config.encoder, kEncoderPrefix, num_stages), config.train_encoder);
  add(Projector::Parameters(config.projector, kProjectorPrefix, num_stages - 1),
      config.train_projector);
  return ParameterTable::Make(std::move(specs));
}

absl::StatusOr<std::unique_ptr<EncoderStage>> EncoderStage::Create(
    const VisionConfig& config, StagePlace place, const StageResources& resources) {
  Communicator* tensor_parallel = resources.communicators.tensor_parallel;
  HETERO_ASSIGN_OR_RETURN(RadioEncoder encoder,
                          RadioEncoder::Create(config.encoder, kEncoderPrefix, place,
                                               resources.parameters, tensor_parallel));
  auto stage = std::unique_ptr<EncoderStage>(new EncoderStage(config, std::move(encoder)));
  if (place.last()) {
    HETERO_ASSIGN_OR_RETURN(stage->projector_,
                            Projector::Create(config.projector, kProjectorPrefix,
                                              resources.parameters, tensor_parallel));
  }
  stage->slots_.resize(resources.num_slots);
  return stage;
}

absl::StatusOr<TensorView> EncoderStage::Forward(ModuleContext& context, int slot_index,
                                                 const StageInput& input) {
  Slot& slot = slots_[slot_index];
  // A frozen part keeps nothing, unless a gradient passes through it to a part that trains.
  ModuleContext encoder_context = context;
  if (!config_.train_encoder) encoder_context.mode = Mode::kEval;
  HETERO_ASSIGN_OR_RETURN(
      const TensorView features_ND,
      encoder_.Forward(encoder_context, *input.images, input.previous_stage, slot.encoder));
  if (!projector_.has_value()) return features_ND;
  slot.features_ND = features_ND;
  ModuleContext projector_context = context;
  if (!config_.train_encoder && !config_.train_projector) projector_context.mode = Mode::kEval;
  return projector_->Forward(projector_context, features_ND, slot.projector);
}

absl::Status EncoderStage::Backward(ModuleContext& context, int slot_index, TensorView d_output,
                                    const StageInputGradients& d_input) {
  if (!config_.train_encoder && !config_.train_projector) return absl::OkStatus();
  Slot& slot = slots_[slot_index];
  ArenaScope scope(context.stream.workspace());
  TensorView d_features_ND = d_output;
  if (projector_.has_value()) {
    d_features_ND = TensorView();
    if (config_.train_encoder) {
      HETERO_ASSIGN_OR_RETURN(
          d_features_ND,
          context.stream.workspace().Allocate(slot.features_ND.dtype(), slot.features_ND.dims()));
    }
    ModuleContext projector_context = context;
    projector_context.needs_input_gradient = config_.train_encoder;
    HETERO_RETURN_IF_ERROR(
        projector_->Backward(projector_context, slot.projector, d_output, d_features_ND));
  }
  if (!config_.train_encoder) return absl::OkStatus();
  return encoder_.Backward(context, slot.encoder, d_features_ND, d_input.previous_stage);
}

}  // namespace hetero
