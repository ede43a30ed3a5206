#ifndef HETERO_DATA_IMAGE_JPEG_H_
#define HETERO_DATA_IMAGE_JPEG_H_

// The JPEG side of codec.h, over libjpeg-turbo.

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/image/image.h"

namespace hetero::data::internal {

bool IsJpeg(std::string_view bytes);

// Errors: DATA_LOSS for damage, RESOURCE_EXHAUSTED for want of memory.
absl::StatusOr<ImageSize> ProbeJpeg(std::string_view bytes);

// Errors: as ProbeJpeg. Precondition: ProbeJpeg accepted `bytes` and the size is in range.
absl::Status DecodeJpeg(std::string_view bytes, Image& out);

}  // namespace hetero::data::internal

#endif  // HETERO_DATA_IMAGE_JPEG_H_
