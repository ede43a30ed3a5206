#include "hetero/trainer/feed/input_contract.h"

#include <algorithm>
#include <limits>
#include <variant>

#include "hetero/data/image/patchify.h"
#include "hetero/data/image_planner.h"

namespace hetero {

using proto::RunConfig;

InputContract ContractOf(const ModelGraph& graph) {
  InputContract contract = {.vocabulary_size = graph.vocabulary_size};
  for (size_t m = 0; m < graph.modalities.size(); ++m) {
    const Modality& modality = graph.modalities[m];
    if (const auto* image = std::get_if<ImageForm>(&modality.form)) {
      contract.image_modality = static_cast<int>(m);
      contract.image_token_id = modality.placeholder_id;
      contract.patch_size = image->patch_size;
      contract.max_image_side = image->max_image_side;
      contract.patches_per_token = image->patches_per_token;
    } else {
      const auto& audio = std::get<AudioForm>(modality.form);
      contract.audio_modality = static_cast<int>(m);
      contract.audio_token_id = modality.placeholder_id;
      contract.num_mels = audio.num_mels;
      contract.max_frames = audio.max_frames;
    }
  }
  return contract;
}

bool TakesImages(const InputContract& contract) { return contract.patch_size > 0; }

bool TakesClips(const InputContract& contract) { return contract.num_mels > 0; }

bool PixelShuffle(const InputContract& contract) { return contract.patches_per_token == 4; }

int64_t SideStep(const InputContract& contract) {
  return contract.patch_size * (PixelShuffle(contract) ? 2 : 1);
}

int64_t NumPatches(ImageSize size, const InputContract& contract) {
  return int64_t{size.height} * size.width / (contract.patch_size * contract.patch_size);
}

int64_t MostPatches(const InputContract& contract) {
  const auto side =
      static_cast<int32_t>(contract.max_image_side / SideStep(contract) * SideStep(contract));
  return NumPatches({.height = side, .width = side}, contract);
}

ImageSize PixelsOf(const proto::ImageSize& size) {
  return {.height = static_cast<int32_t>(size.rows()),
          .width = static_cast<int32_t>(size.columns())};
}

data::TilingOptions TilingOf(const RunConfig& config, const InputContract& contract) {
  data::TilingOptions tiling = {.patch_size = static_cast<int>(contract.patch_size),
                                .min_patches = static_cast<int>(contract.patches_per_token),
                                .pixel_shuffle = PixelShuffle(contract)};
  // Of data.web_dataset, or of the images of conversations.
  const auto take = [&](const auto& images) {
    if (images.has_tiles()) {
      tiling.tiles = {.size = static_cast<int>(images.tiles().tile_size()),
                      .max_tiles = static_cast<int>(images.tiles().max_tiles()),
                      .thumbnail = images.tiles().thumbnail()};
      return;
    }
    tiling.min_patches = static_cast<int>(images.min_patches());
    tiling.max_patches = images.max_patches();
  };
  if (config.data().has_web_dataset()) take(config.data().web_dataset());
  if (config.data().conversations().has_images()) {
    take(config.data().conversations().images());
    tiling.thumbnails = config.data().conversations().images().thumbnails();
  }
  return tiling;
}

data::CaptionOptions CaptionOptionsOf(const RunConfig& config, const InputContract& contract) {
  data::CaptionOptions options = {.sequence_length = config.sequence_length(),
                                  .image_modality = contract.image_modality,
                                  .tiling = TilingOf(config, contract)};
  if (config.data().has_web_dataset()) {
    options.end_id = static_cast<int32_t>(config.data().web_dataset().end_token_id());
    return options;
  }
  const proto::FashionMnist& fashion = config.data().fashion_mnist();
  options.end_id = static_cast<int32_t>(fashion.end_token_id());
  for (const proto::ImageSize& size : fashion.sizes()) {
    const ImageSize pixels = PixelsOf(size);
    options.canvases.push_back({.height = pixels.height, .width = pixels.width});
  }
  return options;
}

data::ConversationOptions ConversationOptionsOf(const RunConfig& config,
                                                const InputContract& contract) {
  const proto::Conversations& conversations = config.data().conversations();
  data::ConversationOptions options = {.sequence_length = config.sequence_length()};
  if (!conversations.has_images()) return options;
  options.images = {.modality = contract.image_modality,
                    .max_count = conversations.images().max_count(),
                    .tiling = TilingOf(config, contract)};
  return options;
}

data::SourceLimits LargestImageOf(const RunConfig& config, const InputContract& contract) {
  if (!config.data().has_conversations()) {
    return data::LimitsOf(CaptionOptionsOf(config, contract));
  }
  const data::ConversationOptions options = ConversationOptionsOf(config, contract);
  if (!options.images.has_value()) {
    return {.feature_width = data::Patchifier::PatchElements(contract.patch_size), .sizes = {}};
  }
  return data::ImagePlanner(options.images->tiling, options.sequence_length).Limits();
}

data::RowPlanOptions RowPlanOptionsOf(const RunConfig& config, const InputContract& contract) {
  const proto::Packing& packing = config.data().packing();
  data::RowPlanOptions options;
  // Image tokens fill a row at most.
  options.limits = {.length = config.sequence_length(),
                    .num_patches = std::min(packing.max_patches(),
                                            config.sequence_length() * contract.patches_per_token),
                    .num_images = packing.max_images()};
  if (packing.has_buffer_size()) options.buffer_size = packing.buffer_size();
  options.seed = static_cast<uint64_t>(config.seed());
  options.num_modalities =
      1 + (TakesClips(contract) ? std::max(contract.audio_modality, contract.image_modality)
                                : contract.image_modality);
  options.patches_per_token = contract.patches_per_token;
  return options;
}

data::MockOptions MockOptionsOf(const RunConfig& config, const InputContract& contract) {
  const proto::MockSamples& mock = config.data().mock();
  return {.num_samples =
              mock.has_num_samples() ? mock.num_samples() : std::numeric_limits<int64_t>::max(),
          .seed = static_cast<uint64_t>(config.seed()),
          .sequence_length = config.sequence_length(),
          .image_tokens = mock.num_image_tokens(),
          .vocabulary_size =
              mock.has_text_vocabulary() ? mock.text_vocabulary() : contract.vocabulary_size,
          .image_id = TakesImages(contract) ? contract.image_token_id : -1,
          .audio_id = TakesClips(contract) ? contract.audio_token_id : -1,
          .pad_id = config.data().pad_token_id(),
          .image_modality = contract.image_modality,
          .audio_modality = contract.audio_modality,
          .image_percent = mock.has_image_percent() ? mock.image_percent() : 100,
          .audio_percent = mock.has_clip_percent() ? mock.clip_percent() : 100,
          .num_mels = contract.num_mels,
          .min_frames = mock.min_clip_frames(),
          .max_frames = mock.max_clip_frames(),
          .max_images = mock.max_images(),
          .min_patches = mock.min_image_patches(),
          .max_patches = mock.max_image_patches(),
          .patch_size = contract.patch_size,
          .pixel_shuffle = PixelShuffle(contract)};
}

}  // namespace hetero
