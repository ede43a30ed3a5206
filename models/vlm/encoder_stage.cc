#include "hetero/models/vlm/encoder_stage.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {

absl::StatusOr<ParameterTable> MakeVisionTable(const VisionConfig& config, int num_stages) {
  const int64_t layers = config.encoder.num_layers;
  if (num_stages < 1 || layers % num_stages != 0) {
    int64_t nearest = std::clamp<int64_t>(num_stages, 1, layers);
    while (layers % nearest != 0) --nearest;
    return absl::InvalidArgumentError(absl::StrCat(layers, " encoder layers do not divide into ",
                                                   num_stages,
                                                   " pipeline stages; nearest: ", nearest));
  }
  return ParameterTable::Make(ProjectedEncoder<RadioEncoder>::Parameters(config, num_stages));
}

absl::StatusOr<std::unique_ptr<EncoderStage>> EncoderStage::Create(
    const VisionConfig& config, StagePlace place, const StageResources& resources) {
  HETERO_ASSIGN_OR_RETURN(Module module, Module::Create(config, place, resources.parameters,
                                                        resources.communicators.tensor_parallel));
  return std::unique_ptr<EncoderStage>(new EncoderStage(std::move(module), resources.num_slots));
}

absl::StatusOr<TensorView> EncoderStage::Forward(ModuleContext& context, int slot,
                                                 const StageInput& input) {
  return module_.Forward(context, *input.images, input.previous_stage, slots_[slot]);
}

absl::Status EncoderStage::Backward(ModuleContext& context, int slot, TensorView d_output,
                                    const StageInputGradients& d_input) {
  return module_.Backward(context, slots_[slot], d_output, d_input.previous_stage);
}

}  // namespace hetero
