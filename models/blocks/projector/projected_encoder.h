#ifndef HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTED_ENCODER_H_
#define HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTED_ENCODER_H_

// A pipeline stage of an encoder, on the last stage with the projector behind it, and what freezing
// either of them saves. An Encoder has types Config (with feature_width()), Batch and Saved, and
// Parameters, Create, Forward, NumFeatures and Backward as RadioEncoder and AudioEncoder have them.
//
// Rows between stages, features and what the projector makes of them are a tensor-parallel rank's
// own (token_shard.h): of S hidden rows, of N features. Padding rows of hidden and features are
// finite, of the projector's result zero; none has a gradient.

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/projector/projector.h"
#include "hetero/models/blocks/run_layers.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"

namespace hetero {

template <typename Encoder>
class ProjectedEncoder {
 public:
  struct Config {
    typename Encoder::Config encoder;
    ProjectorConfig projector;
    bool train_encoder = true;
    bool train_projector = true;

    bool trains() const { return train_encoder || train_projector; }
  };
  struct Saved {
    typename Encoder::Saved encoder;
    TensorView features_RD;
    Projector::Saved projector;
  };

  // What the names of the parts' parameters begin with.
  static constexpr std::string_view kEncoder = "encoder.";
  static constexpr std::string_view kProjector = "projector.";

  // Of all stages: the encoder's and the projector's.
  static std::vector<ParameterSpec> Parameters(const Config& config, int num_stages) {
    std::vector<ParameterSpec> specs;
    const auto add = [&](std::vector<ParameterSpec> part, bool trainable) {
      for (ParameterSpec& spec : part) {
        spec.trainable = trainable;
        specs.push_back(std::move(spec));
      }
    };
    add(Encoder::Parameters(config.encoder, kEncoder, num_stages), config.train_encoder);
    add(Projector::Parameters(config.projector, kProjector, num_stages - 1),
        config.train_projector);
    return specs;
  }

  // `parameters` holds the rows of the stage and outlives the result. Errors: those of the parts.
  static absl::StatusOr<ProjectedEncoder> Create(const Config& config, StagePlace place,
                                                 ParameterStore& parameters,
                                                 SequenceParallel sequence) {
    HETERO_ASSIGN_OR_RETURN(Encoder encoder,
                            Encoder::Create(config.encoder, kEncoder, place, parameters, sequence));
    ProjectedEncoder made(config, std::move(encoder));
    if (place.last()) {
      HETERO_ASSIGN_OR_RETURN(
          made.projector_, Projector::Create(config.projector, kProjector, parameters, sequence));
    }
    return made;
  }

  // Last stage: rows of the projector's width; else the encoder's hidden rows; in the activation
  // arena. A frozen part keeps nothing, unless a gradient passes through it to one that trains:
  // without a part that trains, and in evaluation, the result is all that stays.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, const typename Encoder::Batch& batch,
                                     ConstTensorView upstream, Saved& saved) const {
    ModuleContext of_projector = context;
    if (!config_.trains()) of_projector.mode = Mode::kEval;
    const bool keeps_features = !projector_.has_value() || of_projector.mode != Mode::kEval;
    ArenaScope kept_by_nobody(context.stream.workspace());
    ModuleContext of_encoder = keeps_features ? context : KeepingNothing(context);
    if (!config_.train_encoder) of_encoder.mode = Mode::kEval;
    HETERO_ASSIGN_OR_RETURN(saved.features_RD,
                            encoder_.Forward(of_encoder, batch, upstream, saved.encoder));
    if (!projector_.has_value()) return saved.features_RD;
    HETERO_RETURN_IF_ERROR(context.BeginLayer(kLastLayer));
    return projector_->Forward(of_projector, saved.features_RD, Encoder::NumFeatures(saved.encoder),
                               saved.projector);
  }

  // `d_output` may be overwritten. `d_upstream` receives the gradient of upstream, where the
  // encoder trains; null on the first stage.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_output,
                        TensorView d_upstream) const {
    if (!config_.trains()) return absl::OkStatus();
    if (!projector_.has_value()) {
      return config_.train_encoder ? encoder_.Backward(context, saved.encoder, d_output, d_upstream)
                                   : absl::OkStatus();
    }
    ArenaScope scope(context.stream.workspace());
    // The projector's input is the encoder's features, whoever wants the gradient of the module's.
    ModuleContext of_projector = context;
    of_projector.needs_input_gradient = config_.train_encoder;
    TensorView d_features_RD;
    if (config_.train_encoder) {
      HETERO_ASSIGN_OR_RETURN(
          d_features_RD,
          context.stream.workspace().Allocate(saved.features_RD.dtype(), saved.features_RD.dims()));
    }
    HETERO_RETURN_IF_ERROR(
        projector_->Backward(of_projector, saved.projector, d_output, d_features_RD));
    if (!config_.train_encoder) return absl::OkStatus();
    return encoder_.Backward(context, saved.encoder, d_features_RD, d_upstream);
  }

 private:
  ProjectedEncoder(const Config& config, Encoder encoder)
      : config_(config), encoder_(std::move(encoder)) {}

  Config config_;
  Encoder encoder_;
  std::optional<Projector> projector_;  // last stage
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTED_ENCODER_H_
