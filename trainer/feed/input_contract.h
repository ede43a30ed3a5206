#ifndef HETERO_TRAINER_FEED_INPUT_CONTRACT_H_
#define HETERO_TRAINER_FEED_INPUT_CONTRACT_H_

// What a model asks of data, and what a data message says of images and clips in terms of it: the
// rules of a configuration and what prepares its samples read the same.

#include <cstdint>

#include "hetero/data/caption_source.h"
#include "hetero/data/conversation_source.h"
#include "hetero/data/image/tiling.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/source.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Taken from the graph of a model: at most one modality of images and one of clips.
struct InputContract {
  int64_t vocabulary_size = 0;

  int image_modality = 0;  // of the graph
  int64_t image_token_id = 0;
  int64_t patch_size = 0;         // 0: no images
  int64_t max_image_side = 0;     // pixels
  int64_t patches_per_token = 1;  // of an image: 4 with pixel shuffle

  int audio_modality = 0;  // of the graph
  int64_t audio_token_id = 0;
  int64_t num_mels = 0;    // 0: no clips
  int64_t max_frames = 0;  // of a clip
};

InputContract ContractOf(const ModelGraph& graph);

bool TakesImages(const InputContract& contract);
bool TakesClips(const InputContract& contract);

bool PixelShuffle(const InputContract& contract);

// Pixels that an image's sides are multiples of. Precondition, here and below:
// TakesImages(contract).
int64_t SideStep(const InputContract& contract);

// `size`: in pixels.
int64_t NumPatches(ImageSize size, const InputContract& contract);

// Patches of the largest image that the model is made for.
int64_t MostPatches(const InputContract& contract);

ImageSize PixelsOf(const proto::ImageSize& size);

// How images with captions become samples, without where they come from.
// Precondition: the data are Fashion-MNIST or a WebDataset.
data::CaptionOptions CaptionOptionsOf(const proto::RunConfig& config,
                                      const InputContract& contract);

// How conversations become samples, but for the prompt, which is of the tokenizer.
// Precondition: the data are conversations; TakesImages(contract) where they have images.
data::ConversationOptions ConversationOptionsOf(const proto::RunConfig& config,
                                                const InputContract& contract);

// How images of captions or of conversations are sized.
// Precondition: TakesImages(contract); the data are not mock data.
data::TilingOptions TilingOf(const proto::RunConfig& config, const InputContract& contract);

// Of a sample of the data with one image, no other being larger; of no image where they have none.
// Precondition: TakesImages(contract); the data are not mock data.
data::SourceLimits LargestImageOf(const proto::RunConfig& config, const InputContract& contract);

// How samples share rows. Precondition: data.packing is set.
data::RowPlanOptions RowPlanOptionsOf(const proto::RunConfig& config,
                                      const InputContract& contract);

// Samples that are made up, of the run's seed and the first split.
// Precondition: the data are mock data.
data::MockOptions MockOptionsOf(const proto::RunConfig& config, const InputContract& contract);

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_INPUT_CONTRACT_H_
