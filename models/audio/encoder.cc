#include "hetero/models/audio/encoder.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/run_layers.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/audio/audio.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

constexpr std::string_view kEveryFrame = "conv1.";
constexpr std::string_view kEveryOther = "conv2.";

// d_activated_RC becomes the gradient of what was convolved, in place.
absl::Status ActivationBackward(GeluForm form, ConstTensorView convolved_RC, Parameter& bias_C,
                                TensorView d_activated_RC, Stream& stream) {
  HETERO_RETURN_IF_ERROR(GeluBackward({.form = form,
                                       .da_TF = d_activated_RC,
                                       .f_TF = convolved_RC,
                                       .bias_F = bias_C.value,
                                       .df_TF = d_activated_RC,
                                       .dbias_F = bias_C.gradient,
                                       .accumulate = bias_C.AccumulateGradient()},
                                      stream))
      .With(bias_C.spec->name);
  return absl::OkStatus();
}

}  // namespace

std::vector<ParameterSpec> AudioEncoder::Parameters(const AudioConfig& config,
                                                    std::string_view prefix, int num_stages) {
  const int64_t c = config.layer.hidden_size;
  const DType storage = config.layer.storage;
  std::vector<ParameterSpec> specs;
  for (const auto& [name, channels] : {std::pair{kEveryFrame, config.num_mels}, {kEveryOther, c}}) {
    specs.push_back({.name = absl::StrCat(prefix, name, "weight"),
                     .shape = {c, 3 * channels},
                     .storage = storage,
                     .init = Init::Normal(config.convolution_init_std)});
    specs.push_back({.name = absl::StrCat(prefix, name, "bias"),
                     .shape = {c},
                     .storage = storage,
                     .init = Init::Constant(0),
                     .decay = false});
  }
  for (ParameterSpec& spec : EncoderLayers::Parameters(config.layers(), prefix, num_stages)) {
    specs.push_back(std::move(spec));
  }
  return specs;
}

absl::StatusOr<AudioEncoder> AudioEncoder::Create(const AudioConfig& config,
                                                  std::string_view prefix, StagePlace place,
                                                  ParameterStore& parameters,
                                                  Communicator* tensor_parallel) {
  AudioEncoder encoder;
  encoder.config_ = config;
  encoder.place_ = place;
  if (place.first()) {
    for (const auto& [name, convolution] :
         {std::pair{kEveryFrame, &encoder.every_frame_}, {kEveryOther, &encoder.every_other_}}) {
      HETERO_ASSIGN_OR_RETURN(convolution->weight,
                              parameters.Find(absl::StrCat(prefix, name, "weight")));
      HETERO_ASSIGN_OR_RETURN(convolution->bias_C,
                              parameters.Find(absl::StrCat(prefix, name, "bias")));
    }
  }
  HETERO_ASSIGN_OR_RETURN(encoder.layers_, EncoderLayers::Create(config.layers(), prefix, place,
                                                                 parameters, tensor_parallel));
  return encoder;
}

absl::Status AudioEncoder::CountRows(const AudioBatch& clips, Saved& saved) const {
  saved.clips = clips;
  saved.rows.clear();
  saved.segments.assign(1, 0);
  for (size_t i = 0; i < clips.lengths.size(); ++i) {
    const int64_t frames = clips.lengths[i];
    if (frames < 1 || frames > config_.max_frames) {
      return absl::InvalidArgumentError(absl::StrCat(
          "clip ", i, " has ", frames, " frames; expected 1 to max_frames ", config_.max_frames));
    }
    saved.rows.push_back(static_cast<int32_t>(AudioRows(frames)));
    saved.segments.push_back(saved.segments.back() + saved.rows.back());
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorView> AudioEncoder::Convolve(ModuleContext& context, Saved& saved) const {
  Stream& stream = context.stream;
  Arena& arena = context.activations;
  const GeluForm gelu = config_.layer.gelu;
  const auto& [frames_NM, lengths] = saved.clips;
  const DType dtype = frames_NM.dtype();
  const int64_t frames = frames_NM.dim(0), rows = saved.segments.back();
  const int64_t c = config_.layer.hidden_size;
  HETERO_ASSIGN_OR_RETURN(const TensorView hidden_SC, arena.Allocate(dtype, {rows, c}));
  std::optional<ArenaScope> kept_by_nobody;
  if (context.mode == Mode::kEval) kept_by_nobody.emplace(arena);

  HETERO_ASSIGN_OR_RETURN(saved.convolved_NC, arena.Allocate(dtype, {frames, c}));
  HETERO_ASSIGN_OR_RETURN(saved.activated_NC, arena.Allocate(dtype, {frames, c}));
  HETERO_ASSIGN_OR_RETURN(saved.convolved_SC, arena.Allocate(dtype, {rows, c}));
  HETERO_RETURN_IF_ERROR(TimeConvForward({.lengths = lengths, .stride = 1}, frames_NM,
                                         every_frame_.weight->value, saved.convolved_NC, stream))
      .With(every_frame_.weight->spec->name);
  HETERO_RETURN_IF_ERROR(GeluForward(gelu, saved.convolved_NC, every_frame_.bias_C->value,
                                     saved.activated_NC, stream));
  HETERO_RETURN_IF_ERROR(TimeConvForward({.lengths = lengths, .stride = 2}, saved.activated_NC,
                                         every_other_.weight->value, saved.convolved_SC, stream))
      .With(every_other_.weight->spec->name);
  HETERO_RETURN_IF_ERROR(
      GeluForward(gelu, saved.convolved_SC, every_other_.bias_C->value, hidden_SC, stream));
  HETERO_RETURN_IF_ERROR(AddSinusoids(saved.rows, hidden_SC, hidden_SC, stream));
  return hidden_SC;
}

absl::StatusOr<TensorView> AudioEncoder::Forward(ModuleContext& context, const AudioBatch& clips,
                                                 ConstTensorView upstream_SC, Saved& saved) const {
  const DType dtype = config_.layer.storage;
  HETERO_RETURN_IF_ERROR(CountRows(clips, saved));
  const int64_t rows = saved.segments.back(), c = config_.layer.hidden_size;
  if (place_.first()) {
    int64_t frames = 0;
    for (const int32_t length : clips.lengths) frames += length;
    HETERO_RETURN_IF_ERROR(ExpectDense("frames", clips.frames, dtype, {frames, config_.num_mels}))
        .With(absl::StrCat(clips.lengths.size(), " clips of ", frames, " frames"));
  } else {
    HETERO_RETURN_IF_ERROR(ExpectDense("upstream", upstream_SC, dtype, {rows, c}));
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView output_SC,
                          context.activations.Allocate(dtype, {rows, c}));
  // `output_SC` is all that evaluation leaves.
  ArenaScope kept_by_nobody(context.stream.workspace());
  ModuleContext inner = context.mode == Mode::kEval ? KeepingNothing(context) : context;
  ConstTensorView hidden_SC = upstream_SC;
  if (place_.first()) {
    HETERO_ASSIGN_OR_RETURN(hidden_SC, Convolve(inner, saved));
  }
  HETERO_ASSIGN_OR_RETURN(hidden_SC,
                          layers_.Forward(inner, hidden_SC, saved.segments, saved.layers));
  HETERO_RETURN_IF_ERROR(Copy(hidden_SC, output_SC, context.stream));
  return output_SC;
}

absl::Status AudioEncoder::ConvolveBackward(ModuleContext& context, const Saved& saved,
                                            TensorView d_hidden_SC) const {
  if (!WantsGradient(context, *every_frame_.weight)) return absl::OkStatus();
  Stream& stream = context.stream;
  const GeluForm gelu = config_.layer.gelu;
  const std::span<const int32_t> lengths = saved.clips.lengths;
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_activated_NC,
      stream.workspace().Allocate(d_hidden_SC.dtype(), saved.activated_NC.dims()));
  HETERO_RETURN_IF_ERROR(
      ActivationBackward(gelu, saved.convolved_SC, *every_other_.bias_C, d_hidden_SC, stream));
  HETERO_RETURN_IF_ERROR(TimeConvBackward({.lengths = lengths, .stride = 2},
                                          {.dy_RN = d_hidden_SC,
                                           .x_TC = saved.activated_NC,
                                           .weight_NK = every_other_.weight->value,
                                           .d_x_TC = d_activated_NC,
                                           .d_weight_NK = every_other_.weight->gradient,
                                           .accumulate = every_other_.weight->AccumulateGradient()},
                                          stream))
      .With(every_other_.weight->spec->name);
  HETERO_RETURN_IF_ERROR(
      ActivationBackward(gelu, saved.convolved_NC, *every_frame_.bias_C, d_activated_NC, stream));
  HETERO_RETURN_IF_ERROR(TimeConvBackward({.lengths = lengths, .stride = 1},
                                          {.dy_RN = d_activated_NC,
                                           .x_TC = saved.clips.frames,
                                           .weight_NK = every_frame_.weight->value,
                                           .d_x_TC = {},
                                           .d_weight_NK = every_frame_.weight->gradient,
                                           .accumulate = every_frame_.weight->AccumulateGradient()},
                                          stream))
      .With(every_frame_.weight->spec->name);
  return absl::OkStatus();
}

absl::Status AudioEncoder::Backward(ModuleContext& context, const Saved& saved,
                                    TensorView d_output_SC, TensorView d_upstream_SC) const {
  TensorView d_hidden_SC = d_output_SC;
  if (!place_.first()) {
    d_hidden_SC = d_upstream_SC;
    HETERO_RETURN_IF_ERROR(Copy(d_output_SC, d_hidden_SC, context.stream));
  }
  HETERO_RETURN_IF_ERROR(layers_.Backward(context, saved.layers, d_hidden_SC));
  return place_.first() ? ConvolveBackward(context, saved, d_hidden_SC) : absl::OkStatus();
}

}  // namespace hetero
