#include "hetero/models/radio/encoder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/models/blocks/run_layers.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

constexpr std::string_view kClassToken = "class_token";
constexpr std::string_view kPositions = "position_embeddings";
constexpr std::string_view kEmbedder = "embedder.weight";

}  // namespace

int64_t RadioConfig::NumTokens(std::span<const ImageSize> images) const {
  int64_t tokens = 0;
  for (const ImageSize& image : images) {
    tokens += image.Area() / (patch_size * patch_size) + num_class_tokens;
  }
  return tokens;
}

std::vector<ParameterSpec> RadioEncoder::Parameters(const RadioConfig& config,
                                                    std::string_view prefix, int num_stages) {
  const int64_t c = config.layer.hidden_size, side = config.grid_side();
  const DType storage = config.layer.storage;
  std::vector<ParameterSpec> specs;
  if (config.num_class_tokens > 0) {
    specs.push_back({.name = absl::StrCat(prefix, kClassToken),
                     .shape = {config.num_class_tokens, c},
                     .storage = storage,
                     .init = Init::Normal(config.class_token_init_std)});
  }
  specs.push_back({.name = absl::StrCat(prefix, kPositions),
                   .shape = {1, side * side, c},
                   .storage = storage,
                   .init = Init::Normal(config.position_init_std)});
  specs.push_back({.name = absl::StrCat(prefix, kEmbedder),
                   .shape = {c, config.patch_features()},
                   .storage = storage,
                   .init = Init::Normal(config.embedder_init_std),
                   .dims = {{ShardAxis::kTp, {}}, {}}});
  for (ParameterSpec& spec : EncoderLayers::Parameters(config.layers(), prefix, num_stages)) {
    specs.push_back(std::move(spec));
  }
  return specs;
}

absl::StatusOr<RadioEncoder> RadioEncoder::Create(const RadioConfig& config,
                                                  std::string_view prefix, StagePlace place,
                                                  ParameterStore& parameters,
                                                  Communicator* tensor_parallel) {
  if (config.max_image_side % config.patch_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_image_side is ", config.max_image_side,
                                                   "; expected a multiple of patch_size ",
                                                   config.patch_size));
  }
  RadioEncoder encoder;
  encoder.config_ = config;
  encoder.place_ = place;
  const auto find = [&](std::string_view name) {
    return parameters.Find(absl::StrCat(prefix, name));
  };
  if (place.first()) {
    if (config.num_class_tokens > 0) {
      HETERO_ASSIGN_OR_RETURN(encoder.class_tokens_KC_, find(kClassToken));
    }
    HETERO_ASSIGN_OR_RETURN(encoder.positions_1PC_, find(kPositions));
    HETERO_ASSIGN_OR_RETURN(encoder.embedder_CF_, find(kEmbedder));
  }
  HETERO_ASSIGN_OR_RETURN(encoder.layers_, EncoderLayers::Create(config.layers(), prefix, place,
                                                                 parameters, tensor_parallel));
  return encoder;
}

absl::StatusOr<TensorView> RadioEncoder::Embed(ModuleContext& context, const Saved& saved) const {
  const ImageLayout& layout = saved.layout;
  const int64_t c = config_.layer.hidden_size, side = config_.grid_side();
  const DType dtype = embedder_CF_->value.dtype();
  HETERO_ASSIGN_OR_RETURN(const TensorView tokens_SC,
                          context.activations.Allocate(dtype, {layout.num_tokens(), c}));
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView embedding_NC,
                          context.stream.workspace().Allocate(dtype, {layout.num_patches(), c}));
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.patches_NF, embedder_CF_->value, {}, embedding_NC, context.stream))
      .With(embedder_CF_->spec->name);
  HETERO_RETURN_IF_ERROR(
      PackImageTokens(layout, embedding_NC, positions_1PC_->value.Reshape({side, side, c}),
                      class_tokens_KC_ == nullptr ? positions_1PC_->value.At(0).Rows(0, 0)
                                                  : class_tokens_KC_->value,
                      tokens_SC, context.stream));
  return tokens_SC;
}

absl::StatusOr<TensorView> RadioEncoder::Forward(ModuleContext& context, const ImageBatch& images,
                                                 ConstTensorView upstream_SC, Saved& saved) const {
  Arena& arena = context.activations;
  const int64_t c = config_.layer.hidden_size;
  const DType dtype = config_.layer.storage;
  saved.layout = {.sizes = images.sizes,
                  .patch_size = config_.patch_size,
                  .num_class_tokens = config_.num_class_tokens};
  HETERO_RETURN_IF_ERROR(saved.layout.Validate());
  const int64_t patches = saved.layout.num_patches(), tokens = saved.layout.num_tokens();
  if (place_.first()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("patches", images.patches, dtype, {patches, config_.patch_features()}))
        .With(absl::StrCat(images.sizes.size(), " images of ", patches, " patches"));
    saved.patches_NF = images.patches;
  } else {
    HETERO_RETURN_IF_ERROR(ExpectDense("upstream", upstream_SC, dtype, {tokens, c}));
  }
  saved.segments.assign(1, 0);
  for (int64_t i = 0; i < saved.layout.num_images(); ++i) {
    saved.segments.push_back(saved.segments.back() +
                             static_cast<int32_t>(saved.layout.num_class_tokens +
                                                  saved.layout.rows(i) * saved.layout.columns(i)));
  }

  HETERO_ASSIGN_OR_RETURN(const TensorView output,
                          place_.last()
                              ? arena.Allocate(dtype, {patches / 4, config_.feature_width()})
                              : arena.Allocate(dtype, {tokens, c}));
  // `output` is all that evaluation leaves.
  ArenaScope kept_by_nobody(context.stream.workspace());
  ModuleContext inner = context.mode == Mode::kEval ? KeepingNothing(context) : context;

  ConstTensorView hidden_SC = upstream_SC;
  if (place_.first()) {
    HETERO_ASSIGN_OR_RETURN(hidden_SC, Embed(inner, saved));
  }
  HETERO_ASSIGN_OR_RETURN(hidden_SC,
                          layers_.Forward(inner, hidden_SC, saved.segments, saved.layers));
  if (!place_.last()) {
    HETERO_RETURN_IF_ERROR(Copy(hidden_SC, output, context.stream));
    return output;
  }
  HETERO_RETURN_IF_ERROR(ShufflePixels(saved.layout, hidden_SC, output, context.stream));
  return output;
}

absl::Status RadioEncoder::EmbedBackward(ModuleContext& context, const Saved& saved,
                                         ConstTensorView d_tokens_SC) const {
  if (!WantsGradient(context, *embedder_CF_)) return absl::OkStatus();
  const int64_t c = config_.layer.hidden_size, side = config_.grid_side();
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_embedding_NC,
      context.stream.workspace().Allocate(d_tokens_SC.dtype(), {saved.layout.num_patches(), c}));
  const bool has_class_tokens = class_tokens_KC_ != nullptr;
  HETERO_RETURN_IF_ERROR(PackImageTokensBackward(
      saved.layout,
      {.d_tokens_SC = d_tokens_SC,
       .d_embedding_NC = d_embedding_NC,
       .d_positions_YXC = positions_1PC_->gradient.Reshape({side, side, c}),
       .d_class_tokens_KC = has_class_tokens ? class_tokens_KC_->gradient
                                             : positions_1PC_->gradient.At(0).Rows(0, 0),
       .accumulate_positions = positions_1PC_->AccumulateGradient(),
       .accumulate_class_tokens = has_class_tokens && class_tokens_KC_->AccumulateGradient()},
      context.stream));
  return AddWeightGradient(context, d_embedding_NC, saved.patches_NF, *embedder_CF_);
}

absl::Status RadioEncoder::Backward(ModuleContext& context, const Saved& saved, TensorView d_output,
                                    TensorView d_upstream_SC) const {
  ArenaScope scope(context.stream.workspace());
  TensorView d_hidden_SC = d_upstream_SC;
  if (place_.first()) {
    HETERO_ASSIGN_OR_RETURN(
        d_hidden_SC, context.stream.workspace().Allocate(
                         d_output.dtype(), {saved.layout.num_tokens(), config_.layer.hidden_size}));
  }
  HETERO_RETURN_IF_ERROR(
      place_.last() ? ShufflePixelsBackward(saved.layout, d_output, d_hidden_SC, context.stream)
                    : Copy(d_output, d_hidden_SC, context.stream));
  HETERO_RETURN_IF_ERROR(layers_.Backward(context, saved.layers, d_hidden_SC));
  return place_.first() ? EmbedBackward(context, saved, d_hidden_SC) : absl::OkStatus();
}

}  // namespace hetero
