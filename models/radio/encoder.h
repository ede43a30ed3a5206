#ifndef HETERO_MODELS_RADIO_ENCODER_H_
#define HETERO_MODELS_RADIO_ENCODER_H_

// RADIO vision encoder (Ranzinger et al. 2024, arXiv:2312.06709) over packed images of any size: a
// linear patch embedder, resized positions, class tokens before each image, transformer layers, an
// optional last LayerNorm; then class tokens are dropped and 2 x 2 patches folded into one row.
//
// A pipeline stage holds a range of layers; the first also embeds, the last also folds.
//
// A tensor-parallel rank embeds and normalises its own rows of the S tokens and folds its own rows
// of the N / 4 features (token_shard.h), for which the last stage gathers all tokens once. The
// reference divides the embedder's rows and gathers their outputs; here every rank has all of the
// embedder, a thousandth of the model, and the parts of its gradient are summed once a step:
// nothing is sent where patches become tokens, and no rank computes what it does not own.
//
// Shape letters: N patches of all images, F = 3 P P patch features, S = N + images x class tokens,
// R rows of a rank, C hidden.

#include <cstdint>
#include <span>
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
#include "hetero/tensor/ops/vision/vision.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {

struct RadioConfig {
  int64_t num_layers = 0;
  EncoderLayerConfig layer;
  int64_t patch_size = 0;      // P, pixels
  int64_t max_image_side = 0;  // pixels; the position grid has max_image_side / P cells a side
  int64_t num_class_tokens = 0;
  bool final_norm = true;
  double embedder_init_std = 1;
  double class_token_init_std = 1;
  double position_init_std = 1;

  int64_t grid_side() const { return max_image_side / patch_size; }
  int64_t patch_features() const { return 3 * patch_size * patch_size; }
  int64_t feature_width() const { return 4 * layer.hidden_size; }
  EncoderLayersConfig layers() const { return {num_layers, layer, final_norm}; }
  // Patches and class tokens of these images: rows that pass between pipeline stages.
  int64_t NumTokens(std::span<const ImageSize> images) const;
};

class RadioEncoder {
 public:
  using Config = RadioConfig;
  using Batch = ImageBatch;

  struct Saved {
    ImageLayout layout;
    std::vector<int32_t> segments;
    ConstTensorView patches_NF;
    EncoderLayers::Saved layers;
  };

  // The rows of all stages: the first also embeds, layers and the last norm are where EncoderLayers
  // has them. `prefix` ends with a dot or is empty.
  static std::vector<ParameterSpec> Parameters(const RadioConfig& config, std::string_view prefix,
                                               int num_stages);

  // `parameters` holds the rows of the stage and outlives the encoder.
  // Errors: INVALID_ARGUMENT when max_image_side is not a multiple of patch_size; those of
  // EncoderLayers; NOT_FOUND for parameters outside the store.
  static absl::StatusOr<RadioEncoder> Create(const RadioConfig& config, std::string_view prefix,
                                             StagePlace place, ParameterStore& parameters,
                                             SequenceParallel sequence);

  // Last stage: own rows of features [N / 4, 4 C]; else of hidden [S, C]; in the activation arena.
  // `upstream_RC` is the stage before's output and null on the first stage, which alone reads
  // images.patches, all N on every rank.
  // What `images` points to and upstream stay as they are until Backward; `images` itself is not
  // changed. Evaluation leaves only the result in the arena. Errors: INVALID_ARGUMENT naming the
  // image whose size does not fit, or both counts when the patches do not match the sizes.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, const ImageBatch& images,
                                     ConstTensorView upstream_RC, Saved& saved) const;

  // Rows of features that Forward left with `saved` on all ranks together.
  static int64_t NumFeatures(const Saved& saved) { return saved.layout.num_patches() / 4; }

  // `d_output` may be overwritten. `d_upstream_RC` receives the gradient of upstream; null on the
  // first stage. Pixels get no gradient.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_output,
                        TensorView d_upstream_RC) const;

 private:
  absl::StatusOr<TensorView> Embed(ModuleContext& context, const Saved& saved) const;
  absl::Status EmbedBackward(ModuleContext& context, const Saved& saved,
                             ConstTensorView d_tokens_RC) const;
  absl::Status Fold(ModuleContext& context, const Saved& saved, ConstTensorView hidden_RC,
                    TensorView features) const;
  absl::Status FoldBackward(ModuleContext& context, const Saved& saved, ConstTensorView d_features,
                            TensorView d_hidden_RC) const;

  RadioConfig config_;
  StagePlace place_;
  SequenceParallel sequence_;
  std::string gather_name_;  // of the tokens before they are folded
  Parameter* embedder_CF_ = nullptr;
  Parameter* positions_1PC_ = nullptr;
  Parameter* class_tokens_KC_ = nullptr;
  EncoderLayers layers_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_RADIO_ENCODER_H_
