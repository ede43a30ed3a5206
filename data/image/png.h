#ifndef HETERO_DATA_IMAGE_PNG_H_
#define HETERO_DATA_IMAGE_PNG_H_

// The PNG side of codec.h, over libpng.

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/image/image.h"

namespace hetero::data::internal {

bool IsPng(std::string_view bytes);

// Reads IHDR and checks its CRC. Errors: DATA_LOSS.
absl::StatusOr<ImageSize> ProbePng(std::string_view bytes);

// Errors: DATA_LOSS for damage, RESOURCE_EXHAUSTED for want of memory. Precondition: ProbePng
// accepted `bytes` and the size is in range.
absl::Status DecodePng(std::string_view bytes, Image& out);

// Errors: INVALID_ARGUMENT for what libpng refuses, RESOURCE_EXHAUSTED for want of memory.
absl::StatusOr<std::string> EncodePng(const Image& image, int compression);

}  // namespace hetero::data::internal

#endif  // HETERO_DATA_IMAGE_PNG_H_
