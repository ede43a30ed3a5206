#ifndef HETERO_TRAINER_FEED_SAMPLES_TESTING_H_
#define HETERO_TRAINER_FEED_SAMPLES_TESTING_H_

// Models' contracts and changed recipes, for tests.

#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "hetero/models/avlm/avlm.pb.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero::samples_testing {

// What the models of the recipes take.
inline constexpr InputContract kVision = {.vocabulary_size = 512,
                                          .image_token_id = 511,
                                          .patch_size = 4,
                                          .max_image_side = 64,
                                          .patches_per_token = 4};
inline constexpr InputContract kText = {.vocabulary_size = 512};
inline constexpr InputContract kHearing = {.vocabulary_size = 512,
                                           .image_modality = 0,
                                           .image_token_id = 511,
                                           .patch_size = 4,
                                           .max_image_side = 64,
                                           .patches_per_token = 4,
                                           .audio_modality = 1,
                                           .audio_token_id = 510,
                                           .num_mels = 16,
                                           .max_frames = 64};

inline proto::RunConfig Changed(std::string_view recipe,
                                const std::vector<std::string>& assignments) {
  // Links the models that recipes name.
  proto::AudioVisionLanguageModel::descriptor();
  proto::VisionLanguageModel::descriptor();
  proto::HybridLanguageModel::descriptor();
  proto::RunConfig config = ParseRunConfig(*FindRecipe(recipe), recipe).value();
  for (const std::string& assignment : assignments) {
    CHECK_OK(SetField(assignment, config));
  }
  return config;
}

}  // namespace hetero::samples_testing

#endif  // HETERO_TRAINER_FEED_SAMPLES_TESTING_H_
