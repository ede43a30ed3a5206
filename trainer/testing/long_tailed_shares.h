#ifndef HETERO_TRAINER_TESTING_LONG_TAILED_SHARES_H_
#define HETERO_TRAINER_TESTING_LONG_TAILED_SHARES_H_

// Steps of a large recipe whose images are of 1,024 to 13,312 patches with a long tail, as far as
// sharing them out goes.

#include <cstdint>
#include <memory>

#include "hetero/models/stage.h"
#include "hetero/trainer/feed/media_shares.h"

namespace hetero {

struct LongTailedSteps {
  int64_t encoder_lanes = 32;
  int64_t global_batch_size = 768;
  int64_t samples_per_microbatch = 128;  // of all lanes
  int64_t image_percent = 30;            // of samples, each with one to four images
  int64_t seed = 1234;
};

struct LongTailedShares {
  std::unique_ptr<Model> model;
  std::unique_ptr<MediaShares> shares;
};

// Aborts on what does not fit the recipe.
LongTailedShares SharesOf(const LongTailedSteps& steps);

}  // namespace hetero

#endif  // HETERO_TRAINER_TESTING_LONG_TAILED_SHARES_H_
