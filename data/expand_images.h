#ifndef HETERO_DATA_EXPAND_IMAGES_H_
#define HETERO_DATA_EXPAND_IMAGES_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/data/source.h"
#include "hetero/data/text/conversation.h"

namespace hetero::data {

// Images of a sample: a marker stands for each in its text.
struct ImageTokens {
  int32_t marker = 0;               // id in the text
  int modality = 0;                 // of the model
  std::span<const int64_t> counts;  // rows that each image gives
};

// Overwrites tokens and labels of `out`: `text` with the rows of its images in place of their
// markers, cut behind `max_length` tokens. An image that is not whole then is cut with its marker
// and all that comes after. So many images, the first, are in it: one run of `out.media` each.
// Errors: INVALID_ARGUMENT naming both numbers unless the text has a marker for each image.
absl::Status ExpandImages(const EncodedText& text, const ImageTokens& images, int64_t max_length,
                          LanguageSample& out);

}  // namespace hetero::data

#endif  // HETERO_DATA_EXPAND_IMAGES_H_
