#ifndef HETERO_MODELS_BLOCKS_PROJECTOR_ENCODER_STAGE_H_
#define HETERO_MODELS_BLOCKS_PROJECTOR_ENCODER_STAGE_H_

// A pipeline stage of a module that is an encoder with a projector, reading one modality.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/projector/projected_encoder.h"
#include "hetero/models/stage.h"
#include "hetero/params/table.h"
#include "hetero/tensor/audio_batch.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {

// What encoders read, from a modality of a microbatch. The batch points into `lengths`.
inline void Read(const ModalityBatch& modality, std::vector<int32_t>&, ImageBatch& images) {
  images = {.patches = modality.features, .sizes = modality.sizes};
}
inline void Read(const ModalityBatch& modality, std::vector<int32_t>& lengths, AudioBatch& clips) {
  lengths.clear();
  for (const MediaSize& clip : modality.sizes) lengths.push_back(clip.height);
  clips = {.frames = modality.features, .lengths = lengths};
}

// Errors: INVALID_ARGUMENT when the layers do not divide into the stages.
template <typename Encoder>
absl::StatusOr<ParameterTable> MakeEncoderTable(
    const typename ProjectedEncoder<Encoder>::Config& config, int num_stages) {
  const int64_t layers = config.encoder.num_layers;
  if (num_stages < 1 || layers % num_stages != 0) {
    int64_t nearest = std::clamp<int64_t>(num_stages, 1, layers);
    while (layers % nearest != 0) --nearest;
    return absl::InvalidArgumentError(absl::StrCat(layers, " encoder layers do not divide into ",
                                                   num_stages,
                                                   " pipeline stages; nearest: ", nearest));
  }
  return ParameterTable::Make(ProjectedEncoder<Encoder>::Parameters(config, num_stages));
}

template <typename Encoder>
class EncoderStage : public Stage {
 public:
  using Config = typename ProjectedEncoder<Encoder>::Config;

  static absl::StatusOr<std::unique_ptr<Stage>> Create(const Config& config, StagePlace place,
                                                       const StageResources& resources) {
    HETERO_ASSIGN_OR_RETURN(
        ProjectedEncoder<Encoder> encoder,
        ProjectedEncoder<Encoder>::Create(config, place, resources.parameters,
                                          resources.communicators.Of(Family::kTp)));
    return std::unique_ptr<Stage>(new EncoderStage(std::move(encoder), resources.num_slots));
  }

  absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot_index,
                                     const StageInput& input) override {
    Slot& slot = slots_[slot_index];
    typename Encoder::Batch batch;
    Read(input.modalities[0], slot.lengths, batch);
    return encoder_.Forward(context, batch, input.previous_stage, slot.saved);
  }
  absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                        const StageInputGradients& d_input) override {
    return encoder_.Backward(context, slots_[slot].saved, d_output, d_input.previous_stage);
  }
  absl::Status FinishStep(ConstTensorView, Stream&) override { return absl::OkStatus(); }
  absl::Status TakeTotals(const TensorView&, Stream&) override { return absl::OkStatus(); }

 private:
  struct Slot {
    std::vector<int32_t> lengths;  // frames of each clip
    typename ProjectedEncoder<Encoder>::Saved saved;
  };

  EncoderStage(ProjectedEncoder<Encoder> encoder, int num_slots)
      : encoder_(std::move(encoder)), slots_(num_slots) {}

  ProjectedEncoder<Encoder> encoder_;
  std::vector<Slot> slots_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_PROJECTOR_ENCODER_STAGE_H_
