#include <array>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/models/audio/encoder.h"
#include "hetero/models/testing/module_cases.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

// Two stages of a layer each: the second has an upstream gradient, the first has the convolutions.
absl::Status RunEncoder(ModuleRig& rig) {
  static constexpr std::array<int32_t, 3> kClips = {41, 1, 30};
  constexpr int64_t kFrames = 72, kRows = 21 + 1 + 15, kHidden = 64;
  const AudioConfig config = {.num_layers = 2,
                              .layer = {.hidden_size = kHidden,
                                        .num_heads = 4,
                                        .head_dim = 16,
                                        .ffn_size = 96,
                                        .gelu = GeluForm::kErf,
                                        .storage = rig.storage()},
                              .num_mels = 80,
                              .max_frames = 41};
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(AudioEncoder::Parameters(config, "", 2)));
  ParameterStore& parameters = rig.MakeParameters(table);
  const AudioBatch clips = {.frames = rig.Normal(kFrames, config.num_mels), .lengths = kClips};
  const TensorView d_features = rig.Normal(kRows, kHidden);
  const TensorView d_hidden_SC = rig.Normal(kRows, kHidden);  // overwritten
  std::vector<AudioEncoder> stages;
  std::array<AudioEncoder::Saved, 2> saved;
  TensorView out;
  for (int s = 0; s < 2; ++s) {
    HETERO_ASSIGN_OR_RETURN(
        AudioEncoder stage,
        AudioEncoder::Create(config, "", {.stage = s, .num_stages = 2}, parameters, nullptr));
    stages.push_back(std::move(stage));
    HETERO_ASSIGN_OR_RETURN(out, stages[s].Forward(rig.context(), clips, out, saved[s]));
  }
  rig.Keep("features", out);
  HETERO_RETURN_IF_ERROR(stages[1].Backward(rig.context(), saved[1], d_features, d_hidden_SC));
  rig.Keep("d hidden", d_hidden_SC);
  HETERO_RETURN_IF_ERROR(stages[0].Backward(rig.context(), saved[0], d_hidden_SC, {}));
  return rig.KeepGradients(parameters);
}

}  // namespace

std::vector<ModuleCase> AudioCases() {
  // Two layers; two convolutions, their activations, the sum with the positions and the last norm;
  // the gradients of norm, activations, gathered rows and their sum.
  return {{.name = "AudioEncoder", .roundings = 51, .longest_sum = 3 * 80, .run = RunEncoder}};
}

}  // namespace hetero
