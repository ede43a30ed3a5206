#ifndef HETERO_MODELS_VLM_ENCODER_STAGE_H_
#define HETERO_MODELS_VLM_ENCODER_STAGE_H_

// A stage of the vision module: encoder layers, on the last stage also the projector.

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/projector/projector.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/stage.h"
#include "hetero/params/table.h"

namespace hetero {

struct VisionConfig {
  RadioConfig encoder;
  ProjectorConfig projector;
  bool train_encoder = true;
  bool train_projector = true;
};

// Names: the encoder's below "encoder.", the projector's below "projector.".
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
  struct Slot {
    RadioEncoder::Saved encoder;
    Projector::Saved projector;
    TensorView features_ND;
  };

  EncoderStage(const VisionConfig& config, RadioEncoder encoder)
      : config_(config), encoder_(std::move(encoder)) {}

  VisionConfig config_;
  RadioEncoder encoder_;
  std::optional<Projector> projector_;  // last stage
  std::vector<Slot> slots_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_VLM_ENCODER_STAGE_H_
