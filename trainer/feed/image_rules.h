#ifndef HETERO_TRAINER_FEED_IMAGE_RULES_H_
#define HETERO_TRAINER_FEED_IMAGE_RULES_H_

// Rules of the sizes and numbers of images.

#include <cstdint>
#include <optional>
#include <string_view>

#include "hetero/trainer/feed/data_violations.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero::internal {

// What a message says of the sizes of images.
struct ImageFields {
  std::string_view message;
  std::optional<int64_t> min_patches;
  std::optional<int64_t> max_patches;
  std::optional<proto::Tiles> tiles;
  bool thumbnails = false;  // beside images without tiles
};

template <typename Message>
ImageFields ImageFieldsOf(std::string_view name, const Message& message) {
  ImageFields fields = {.message = name};
  if (message.has_min_patches()) fields.min_patches = message.min_patches();
  if (message.has_max_patches()) fields.max_patches = message.max_patches();
  if (message.has_tiles()) fields.tiles = message.tiles();
  return fields;
}

// Precondition, here and below: TakesImages(contract).
void CheckImageSizes(const proto::RunConfig& config, const InputContract& contract,
                     const ImageFields& fields, DataViolations& violations);

// How many images of at most so many views may share `room` tokens of a row: each view has a token,
// a tile all of its own. Precondition: sizes of images are in order.
void CheckMostImages(const proto::RunConfig& config, const InputContract& contract,
                     std::string_view field, int64_t count, int64_t room, int64_t views,
                     DataViolations& violations);

}  // namespace hetero::internal

#endif  // HETERO_TRAINER_FEED_IMAGE_RULES_H_
