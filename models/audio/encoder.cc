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

// The gradient of what was convolved, which may take the place of d_activated.
absl::Status ActivationBackward(GeluForm form, ConstTensorView d_activated,
                                ConstTensorView convolved, Parameter& bias_C,
                                TensorView d_convolved, Stream& stream) {
  HETERO_RETURN_IF_ERROR(GeluBackward({.form = form,
                                       .da_TF = d_activated,
                                       .f_TF = convolved,
                                       .bias_F = bias_C.value,
                                       .df_TF = d_convolved,
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
                                                  SequenceParallel sequence) {
  AudioEncoder encoder;
  encoder.config_ = config;
  encoder.place_ = place;
  encoder.sequence_ = sequence;
  encoder.gather_name_ = absl::StrCat(prefix, "convolutions");
  if (place.first()) {
    for (const auto& [name, convolution] :
         {std::pair{kEveryFrame, &encoder.every_frame_}, {kEveryOther, &encoder.every_other_}}) {
      HETERO_ASSIGN_OR_RETURN(convolution->weight,
                              parameters.Find(absl::StrCat(prefix, name, "weight")));
      HETERO_ASSIGN_OR_RETURN(convolution->bias_C,
                              parameters.Find(absl::StrCat(prefix, name, "bias")));
    }
  }
  HETERO_ASSIGN_OR_RETURN(
      encoder.layers_, EncoderLayers::Create(config.layers(), prefix, place, parameters, sequence));
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
  HETERO_ASSIGN_OR_RETURN(const TensorView hidden_SC,
                          sequence_.AllocatePart(dtype, rows, c, arena, stream));
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
  return sequence_.OwnRows(hidden_SC);
}

absl::StatusOr<TensorView> AudioEncoder::Forward(ModuleContext& context, const AudioBatch& clips,
                                                 ConstTensorView upstream_RC, Saved& saved) const {
  const DType dtype = config_.layer.storage;
  HETERO_RETURN_IF_ERROR(CountRows(clips, saved));
  const int64_t rows = sequence_.Shard(saved.segments.back()).rows();
  const int64_t c = config_.layer.hidden_size;
  if (place_.first()) {
    int64_t frames = 0;
    for (const int32_t length : clips.lengths) frames += length;
    HETERO_RETURN_IF_ERROR(ExpectDense("frames", clips.frames, dtype, {frames, config_.num_mels}))
        .With(absl::StrCat(clips.lengths.size(), " clips of ", frames, " frames"));
  } else {
    HETERO_RETURN_IF_ERROR(ExpectDense("upstream", upstream_RC, dtype, {rows, c}));
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView output_RC,
                          context.activations.Allocate(dtype, {rows, c}));
  // `output_RC` is all that evaluation leaves.
  ArenaScope kept_by_nobody(context.stream.workspace());
  ModuleContext inner = context.mode == Mode::kEval ? KeepingNothing(context) : context;
  ConstTensorView hidden_RC = upstream_RC;
  if (place_.first()) {
    HETERO_RETURN_IF_ERROR(context.BeginLayer(0));
    HETERO_ASSIGN_OR_RETURN(hidden_RC, Convolve(inner, saved));
  }
  HETERO_ASSIGN_OR_RETURN(hidden_RC,
                          layers_.Forward(inner, hidden_RC, saved.segments, saved.layers));
  HETERO_RETURN_IF_ERROR(Copy(hidden_RC, output_RC, context.stream));
  return output_RC;
}

absl::Status AudioEncoder::ConvolveBackward(ModuleContext& context, const Saved& saved,
                                            TensorView d_hidden_RC) const {
  if (!WantsGradient(context, *every_frame_.weight)) return absl::OkStatus();
  Stream& stream = context.stream;
  const DType dtype = d_hidden_RC.dtype();
  const int64_t rows = saved.segments.back();
  const GeluForm gelu = config_.layer.gelu;
  const std::span<const int32_t> lengths = saved.clips.lengths;
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView d_activated_NC,
                          stream.workspace().Allocate(dtype, saved.activated_NC.dims()));
  HETERO_ASSIGN_OR_RETURN(
      const ConstTensorView d_hidden_SC,
      sequence_.Gather(d_hidden_RC, rows, stream.workspace(), stream, gather_name_));
  TensorView d_convolved_SC = d_hidden_RC;
  if (!sequence_.alone()) {
    HETERO_ASSIGN_OR_RETURN(d_convolved_SC, stream.workspace().Allocate(dtype, d_hidden_SC.dims()));
  }
  HETERO_RETURN_IF_ERROR(ActivationBackward(gelu, d_hidden_SC, saved.convolved_SC,
                                            *every_other_.bias_C, d_convolved_SC, stream));
  HETERO_RETURN_IF_ERROR(TimeConvBackward({.lengths = lengths, .stride = 2},
                                          {.dy_RN = d_convolved_SC,
                                           .x_TC = saved.activated_NC,
                                           .weight_NK = every_other_.weight->value,
                                           .d_x_TC = d_activated_NC,
                                           .d_weight_NK = every_other_.weight->gradient,
                                           .accumulate = every_other_.weight->AccumulateGradient()},
                                          stream))
      .With(every_other_.weight->spec->name);
  HETERO_RETURN_IF_ERROR(ActivationBackward(gelu, d_activated_NC, saved.convolved_NC,
                                            *every_frame_.bias_C, d_activated_NC, stream));
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
                                    TensorView d_output_RC, TensorView d_upstream_RC) const {
  TensorView d_hidden_RC = d_output_RC;
  if (!place_.first()) {
    d_hidden_RC = d_upstream_RC;
    HETERO_RETURN_IF_ERROR(Copy(d_output_RC, d_hidden_RC, context.stream));
  }
  HETERO_RETURN_IF_ERROR(layers_.Backward(context, saved.layers, d_hidden_RC));
  return place_.first() ? ConvolveBackward(context, saved, d_hidden_RC) : absl::OkStatus();
}

}  // namespace hetero
