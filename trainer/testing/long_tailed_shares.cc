#include "hetero/trainer/testing/long_tailed_shares.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/data/file/long_work.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {

LongTailedShares SharesOf(const LongTailedSteps& steps) {
  const proto::RunConfig config = RecipeConfig(
      "nemotron_54l_33n",
      {absl::StrCat("seed=", steps.seed),
       absl::StrCat("data.mock={num_image_tokens: 4096 max_images: 4 min_image_patches: 1024 "
                    "max_image_patches: 13312 image_percent: ",
                    steps.image_percent, "}")});
  LongTailedShares made;
  made.model = BuiltInModels().Make(config.model(), StorageOf(config)).value();
  const ModelGraph& graph = made.model->graph();
  const InputContract contract = ContractOf(graph);
  BatchFeedOptions options = {
      .modalities = graph.modalities,
      .balanced = BalancedMedia{.num_lanes = steps.encoder_lanes,
                                .cost =
                                    [model = made.model.get(),
                                     encoder = *ImageEncoder(graph)](const SampleFacts& image) {
                                      return model->FlopsOf(encoder, image).training;
                                    }},
      .batch = {.global_batch_size = steps.global_batch_size,
                .samples_per_microbatch = steps.samples_per_microbatch},
      .sequence_length = config.sequence_length(),
      .limits = LimitsOf(config, contract),
      .samples =
          PrepareSamples(config, contract, /*num_lanes=*/1, {}, data::LongWork()).value().train};
  auto source = options.samples->open().value();
  made.shares =
      std::make_unique<MediaShares>(std::make_shared<const BatchFeedOptions>(std::move(options)),
                                    std::move(source), /*num_kept=*/1);
  return made;
}

}  // namespace hetero
