#ifndef HETERO_DATA_IMAGE_WEBP_H_
#define HETERO_DATA_IMAGE_WEBP_H_

// The WebP side of codec.h, over libwebp.

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/image/image.h"

namespace hetero::data::internal {

bool IsWebp(std::string_view bytes);

// Errors: DATA_LOSS for damage and files that end early, UNIMPLEMENTED for animations.
absl::StatusOr<ImageSize> ProbeWebp(std::string_view bytes);

// RGB, or with alpha where the file has it. Errors: as ProbeWebp, and RESOURCE_EXHAUSTED for want
// of memory. Precondition: ProbeWebp accepted `bytes` and the size is in range.
absl::Status DecodeWebp(std::string_view bytes, Image& out);

}  // namespace hetero::data::internal

#endif  // HETERO_DATA_IMAGE_WEBP_H_
