#include "hetero/models/radio/encoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/token_shard.h"
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

// Patches among the tokens that a rank owns.
struct PatchRange {
  int64_t first = 0;
  int64_t count = 0;
  // Of any images with so many tokens and patches, so that these alone say what memory a batch
  // takes.
  int64_t at_most = 0;
};
PatchRange OwnPatches(const ImageLayout& layout, const TokenShard& shard) {
  const int64_t first = layout.PatchesBefore(shard.begin());
  return {.first = first,
          .count = layout.PatchesBefore(shard.begin() + shard.num_owned()) - first,
          .at_most = std::min(shard.rows(), layout.num_patches())};
}

absl::Status ZeroPadding(TensorView own, const TokenShard& shard, Stream& stream) {
  const int64_t padding = shard.rows() - shard.num_owned();
  return padding == 0 ? absl::OkStatus() : Fill(0, own.Rows(shard.num_owned(), padding), stream);
}

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
                     .init = Init::Normal(config.class_token_init_std),
                     .partial_over_tp = true});
  }
  specs.push_back({.name = absl::StrCat(prefix, kPositions),
                   .shape = {1, side * side, c},
                   .storage = storage,
                   .init = Init::Normal(config.position_init_std),
                   .partial_over_tp = true});
  specs.push_back({.name = absl::StrCat(prefix, kEmbedder),
                   .shape = {c, config.patch_features()},
                   .storage = storage,
                   .init = Init::Normal(config.embedder_init_std),
                   .partial_over_tp = true});
  for (ParameterSpec& spec : EncoderLayers::Parameters(config.layers(), prefix, num_stages)) {
    specs.push_back(std::move(spec));
  }
  return specs;
}

absl::StatusOr<RadioEncoder> RadioEncoder::Create(const RadioConfig& config,
                                                  std::string_view prefix, StagePlace place,
                                                  ParameterStore& parameters,
                                                  SequenceParallel sequence) {
  if (config.max_image_side % config.patch_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_image_side is ", config.max_image_side,
                                                   "; expected a multiple of patch_size ",
                                                   config.patch_size));
  }
  RadioEncoder encoder;
  encoder.config_ = config;
  encoder.place_ = place;
  encoder.sequence_ = sequence;
  encoder.gather_name_ = absl::StrCat(prefix, "features");
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
  HETERO_ASSIGN_OR_RETURN(
      encoder.layers_, EncoderLayers::Create(config.layers(), prefix, place, parameters, sequence));
  return encoder;
}

absl::StatusOr<TensorView> RadioEncoder::Embed(ModuleContext& context, const Saved& saved) const {
  Stream& stream = context.stream;
  const ImageLayout& layout = saved.layout;
  const TokenShard shard = sequence_.Shard(layout.num_tokens());
  const PatchRange own = OwnPatches(layout, shard);
  const int64_t c = config_.layer.hidden_size, side = config_.grid_side();
  const DType dtype = embedder_CF_->value.dtype();
  HETERO_ASSIGN_OR_RETURN(const TensorView tokens_RC,
                          context.activations.Allocate(dtype, {shard.rows(), c}));
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView room,
                          stream.workspace().Allocate(dtype, {own.at_most, c}));
  const TensorView embedding = room.Rows(0, own.count);
  HETERO_RETURN_IF_ERROR(LinearForward(saved.patches_NF.Rows(own.first, own.count),
                                       embedder_CF_->value, {}, embedding, stream))
      .With(embedder_CF_->spec->name);
  HETERO_RETURN_IF_ERROR(
      PackImageTokens(layout, embedding, positions_1PC_->value.Reshape({side, side, c}),
                      class_tokens_KC_ == nullptr ? positions_1PC_->value.At(0).Rows(0, 0)
                                                  : class_tokens_KC_->value,
                      shard.begin(), tokens_RC.Rows(0, shard.num_owned()), stream));
  HETERO_RETURN_IF_ERROR(ZeroPadding(tokens_RC, shard, stream));
  return tokens_RC;
}

absl::Status RadioEncoder::Fold(ModuleContext& context, const Saved& saved,
                                ConstTensorView hidden_RC, TensorView features) const {
  Stream& stream = context.stream;
  const TokenShard shard = sequence_.Shard(NumFeatures(saved));
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const ConstTensorView hidden_SC,
                          sequence_.Gather(hidden_RC, saved.layout.num_tokens(), stream.workspace(),
                                           stream, gather_name_));
  HETERO_RETURN_IF_ERROR(ShufflePixels(saved.layout, hidden_SC, shard.begin(),
                                       features.Rows(0, shard.num_owned()), stream));
  return ZeroPadding(features, shard, stream);
}

absl::Status RadioEncoder::FoldBackward(ModuleContext& context, const Saved& saved,
                                        ConstTensorView d_features, TensorView d_hidden_RC) const {
  Stream& stream = context.stream;
  const TokenShard shard = sequence_.Shard(saved.layout.num_tokens());
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const ConstTensorView d_all_features,
      sequence_.Gather(d_features, NumFeatures(saved), stream.workspace(), stream, gather_name_));
  HETERO_RETURN_IF_ERROR(ShufflePixelsBackward(saved.layout, d_all_features, shard.begin(),
                                               d_hidden_RC.Rows(0, shard.num_owned()), stream));
  return ZeroPadding(d_hidden_RC, shard, stream);
}

absl::StatusOr<TensorView> RadioEncoder::Forward(ModuleContext& context, const ImageBatch& images,
                                                 ConstTensorView upstream_RC, Saved& saved) const {
  Arena& arena = context.activations;
  const int64_t c = config_.layer.hidden_size;
  const DType dtype = config_.layer.storage;
  saved.layout = {.sizes = images.sizes,
                  .patch_size = config_.patch_size,
                  .num_class_tokens = config_.num_class_tokens};
  HETERO_RETURN_IF_ERROR(saved.layout.Validate());
  const int64_t patches = saved.layout.num_patches();
  const int64_t rows = sequence_.Shard(saved.layout.num_tokens()).rows();
  if (place_.first()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("patches", images.patches, dtype, {patches, config_.patch_features()}))
        .With(absl::StrCat(images.sizes.size(), " images of ", patches, " patches"));
    saved.patches_NF = images.patches;
  } else {
    HETERO_RETURN_IF_ERROR(ExpectDense("upstream", upstream_RC, dtype, {rows, c}));
  }
  saved.segments.assign(1, 0);
  for (int64_t i = 0; i < saved.layout.num_images(); ++i) {
    saved.segments.push_back(saved.segments.back() +
                             static_cast<int32_t>(saved.layout.num_class_tokens +
                                                  saved.layout.rows(i) * saved.layout.columns(i)));
  }

  HETERO_ASSIGN_OR_RETURN(const TensorView output,
                          place_.last()
                              ? arena.Allocate(dtype, {sequence_.Shard(NumFeatures(saved)).rows(),
                                                       config_.feature_width()})
                              : arena.Allocate(dtype, {rows, c}));
  // `output` is all that evaluation leaves.
  ArenaScope kept_by_nobody(context.stream.workspace());
  ModuleContext inner = context.mode == Mode::kEval ? KeepingNothing(context) : context;

  ConstTensorView hidden_RC = upstream_RC;
  if (place_.first()) {
    HETERO_RETURN_IF_ERROR(context.BeginLayer(0));
    HETERO_ASSIGN_OR_RETURN(hidden_RC, Embed(inner, saved));
  }
  HETERO_ASSIGN_OR_RETURN(hidden_RC,
                          layers_.Forward(inner, hidden_RC, saved.segments, saved.layers));
  HETERO_RETURN_IF_ERROR(place_.last() ? Fold(inner, saved, hidden_RC, output)
                                       : Copy(hidden_RC, output, context.stream));
  return output;
}

absl::Status RadioEncoder::EmbedBackward(ModuleContext& context, const Saved& saved,
                                         ConstTensorView d_tokens_RC) const {
  if (!WantsGradient(context, *embedder_CF_)) return absl::OkStatus();
  const TokenShard shard = sequence_.Shard(saved.layout.num_tokens());
  const PatchRange own = OwnPatches(saved.layout, shard);
  const int64_t c = config_.layer.hidden_size, side = config_.grid_side();
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView room, context.stream.workspace().Allocate(
                                                     d_tokens_RC.dtype(), {own.at_most, c}));
  const TensorView d_embedding = room.Rows(0, own.count);
  const bool has_class_tokens = class_tokens_KC_ != nullptr;
  HETERO_RETURN_IF_ERROR(PackImageTokensBackward(
      saved.layout,
      {.first_token = shard.begin(),
       .d_tokens_WC = d_tokens_RC.Rows(0, shard.num_owned()),
       .d_embedding_NC = d_embedding,
       .d_positions_YXC = positions_1PC_->gradient.Reshape({side, side, c}),
       .d_class_tokens_KC = has_class_tokens ? class_tokens_KC_->gradient
                                             : positions_1PC_->gradient.At(0).Rows(0, 0),
       .accumulate_positions = positions_1PC_->AccumulateGradient(),
       .accumulate_class_tokens = has_class_tokens && class_tokens_KC_->AccumulateGradient()},
      context.stream));
  return AddWeightGradient(context, d_embedding, saved.patches_NF.Rows(own.first, own.count),
                           *embedder_CF_);
}

absl::Status RadioEncoder::Backward(ModuleContext& context, const Saved& saved, TensorView d_output,
                                    TensorView d_upstream_RC) const {
  ArenaScope scope(context.stream.workspace());
  TensorView d_hidden_RC = d_upstream_RC;
  if (place_.first()) {
    HETERO_ASSIGN_OR_RETURN(
        d_hidden_RC, context.stream.workspace().Allocate(
                         d_output.dtype(), {sequence_.Shard(saved.layout.num_tokens()).rows(),
                                            config_.layer.hidden_size}));
  }
  HETERO_RETURN_IF_ERROR(place_.last() ? FoldBackward(context, saved, d_output, d_hidden_RC)
                                       : Copy(d_output, d_hidden_RC, context.stream));
  HETERO_RETURN_IF_ERROR(layers_.Backward(context, saved.layers, d_hidden_RC));
  return place_.first() ? EmbedBackward(context, saved, d_hidden_RC) : absl::OkStatus();
}

}  // namespace hetero
