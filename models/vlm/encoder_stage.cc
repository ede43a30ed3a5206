#include "hetero/models/vlm/encoder_stage.h"

#include <string_view>
#include <utility>

#include "hetero/base/status.h"

namespace hetero {
namespace {

constexpr std::string_view kEncoderPrefix = "encoder.";
constexpr std::string_view kProjectorPrefix = "projector.";

}  // namespace

absl::StatusOr<ParameterTable> MakeVisionTable(const VisionConfig& config, int num_stages) {
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
  const Mode mode = context.mode;
  const auto mode_if = [&](bool kept) { return kept ? mode : Mode::kEval; };
  context.mode = mode_if(config_.train_encoder);
  absl::StatusOr<TensorView> output = encoder_.Forward(
      context, *input.images, input.upstream.empty() ? ConstTensorView() : input.upstream[0],
      slot.encoder);
  if (output.ok() && projector_.has_value()) {
    slot.features_ND = *output;
    context.mode = mode_if(config_.train_encoder || config_.train_projector);
    output = projector_->Forward(context, slot.features_ND, slot.projector);
  }
  context.mode = mode;
  return output;
}

absl::Status EncoderStage::Backward(ModuleContext& context, int slot_index, TensorView d_output,
                                    std::span<const TensorView> d_upstream) {
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
    const bool needs_input_gradient = context.needs_input_gradient;
    context.needs_input_gradient = config_.train_encoder;
    const absl::Status status =
        projector_->Backward(context, slot.projector, d_output, d_features_ND);
    context.needs_input_gradient = needs_input_gradient;
    HETERO_RETURN_IF_ERROR(status);
  }
  if (!config_.train_encoder) return absl::OkStatus();
  return encoder_.Backward(context, slot.encoder, d_features_ND,
                           d_upstream.empty() ? TensorView() : d_upstream[0]);
}

}  // namespace hetero
