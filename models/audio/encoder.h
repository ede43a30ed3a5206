#ifndef HETERO_MODELS_AUDIO_ENCODER_H_
#define HETERO_MODELS_AUDIO_ENCODER_H_

// The encoder of Whisper (Radford et al. 2022, arXiv:2212.04356, section 2.2) over packed clips of
// any length: two convolutions of three taps over time, the second with stride 2, GELU behind each,
// sinusoidal positions that start again with every clip, transformer layers, a last LayerNorm.
// Convolutions see zeros on both sides of a clip and attention stays inside it, so that a clip's
// rows do not depend on what lies beside it. Positions are computed, not stored: no clip is too
// long for them.
//
// A pipeline stage holds a range of layers; the first also has the convolutions, the last the norm.
//
// A tensor-parallel rank normalises its own rows of the S tokens (token_shard.h). Every rank
// convolves all frames, a fraction of one layer's work, and goes on with its own rows: a row needs
// frames beyond them. Backward gathers the gradient of all rows, so that every rank has the whole
// gradient of the convolutions.
//
// Shape letters: N frames of all clips, M mels, S = sum of AudioRows(frames of a clip), R rows of a
// rank, C hidden.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/encoder_layers/encoder_layers.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {

struct AudioConfig {
  int64_t num_layers = 0;
  EncoderLayerConfig layer;  // its gelu is also that of the convolutions
  int64_t num_mels = 0;
  int64_t max_frames = 0;  // of a clip
  double convolution_init_std = 0.02;

  int64_t feature_width() const { return layer.hidden_size; }
  EncoderLayersConfig layers() const { return {num_layers, layer}; }
};

class AudioEncoder {
 public:
  using Config = AudioConfig;
  using Batch = AudioBatch;

  struct Saved {
    AudioBatch clips;
    std::vector<int32_t> rows;      // of each clip
    std::vector<int32_t> segments;  // rows before each clip, and all of them
    TensorView convolved_NC;        // both before bias and activation
    TensorView activated_NC;
    TensorView convolved_SC;
    EncoderLayers::Saved layers;
  };

  // The rows of all stages: the first also convolves, layers and norm are where EncoderLayers has
  // them. `prefix` ends with a dot or is empty. Weights of convolutions are as TimeConvForward has
  // them, [C, 3 M] and [C, 3 C], tap after tap.
  static std::vector<ParameterSpec> Parameters(const AudioConfig& config, std::string_view prefix,
                                               int num_stages);

  // `parameters` holds the rows of the stage and outlives the encoder.
  // Errors: those of EncoderLayers; NOT_FOUND for parameters outside the store.
  static absl::StatusOr<AudioEncoder> Create(const AudioConfig& config, std::string_view prefix,
                                             StagePlace place, ParameterStore& parameters,
                                             SequenceParallel sequence);

  // Returns [R, C], of the last stage the features, in the activation arena. `upstream_RC` is the
  // stage before's output and null on the first stage, which alone reads clips.frames, all N on
  // every rank. What `clips` points to and upstream stay as they are until Backward. No clip is
  // legal. Evaluation leaves only the result in the arena. Errors: INVALID_ARGUMENT naming the clip
  // that is too long or empty, or both counts when the frames do not match the lengths.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, const AudioBatch& clips,
                                     ConstTensorView upstream_RC, Saved& saved) const;

  // Rows of features that Forward left with `saved` on all ranks together.
  static int64_t NumFeatures(const Saved& saved) { return saved.segments.back(); }

  // `d_output_RC` may be overwritten. `d_upstream_RC` receives the gradient of upstream; null on
  // the first stage. Frames get no gradient.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_output_RC,
                        TensorView d_upstream_RC) const;

 private:
  struct Convolution {
    Parameter* weight = nullptr;  // [C, 3 channels]
    Parameter* bias_C = nullptr;
  };

  absl::Status CountRows(const AudioBatch& clips, Saved& saved) const;
  absl::StatusOr<TensorView> Convolve(ModuleContext& context, Saved& saved) const;
  absl::Status ConvolveBackward(ModuleContext& context, const Saved& saved,
                                TensorView d_hidden_RC) const;

  AudioConfig config_;
  StagePlace place_;
  SequenceParallel sequence_;
  std::string gather_name_;  // of the gradient that the convolutions get
  Convolution every_frame_;
  Convolution every_other_;
  EncoderLayers layers_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_AUDIO_ENCODER_H_
