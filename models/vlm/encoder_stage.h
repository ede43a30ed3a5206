#ifndef HETERO_MODELS_VLM_ENCODER_STAGE_H_
#define HETERO_MODELS_VLM_ENCODER_STAGE_H_

// A stage of the vision module: encoder layers, on the last stage also the projector.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/projector/projected_encoder.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/stage.h"
#include "hetero/params/table.h"

namespace hetero {

using VisionConfig = ProjectedEncoder<RadioEncoder>::Config;

// Names: the encoder's below "encoder.", the projector's below "projector.".
// Errors: INVALID_ARGUMENT when the layers do not divide into the stages, with the nearest number.
absl::StatusOr<ParameterTable> MakeVisionTable(const VisionConfig& config, int num_stages);

class EncoderStage : public Stage {
 public:
  static absl::StatusOr<std::unique_ptr<EncoderStage>> Create(const VisionConfig& config,
                                                              StagePlace place,
                                                              const StageResources& resources);

  absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot,
                                     const StageInput& input) override;
  absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                        const StageInputGradients& d_input) override;
  absl::Status FinishStep(Communicator*, Stream&) override { return absl::OkStatus(); }
  absl::StatusOr<StageCounts> TakeTotals(const TensorView&, Stream&) override {
    return StageCounts{};
  }

 private:
  using Module = ProjectedEncoder<RadioEncoder>;

  EncoderStage(Module module, int num_slots) : module_(std::move(module)), slots_(num_slots) {}

  Module module_;
  std::vector<Module::Saved> slots_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_VLM_ENCODER_STAGE_H_
