#ifndef HETERO_DATA_IMAGE_CODEC_H_
#define HETERO_DATA_IMAGE_CODEC_H_

// PNG, JPEG and still WebP files, as bytes, to pixels and back. The pixels equal Pillow's. Pure
// functions; what is accepted depends on the bytes alone, so two ranks agree on which files are
// good.

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/image/image.h"

namespace hetero::data {

// Files with more pixels are refused before anything is allocated (Pillow's limit).
inline constexpr int64_t kMaxImagePixels = 178'956'970;

// Reads the size from the header; no pixel is decoded.
// Errors: DATA_LOSS for no bytes or a damaged header, UNIMPLEMENTED for animations and bytes of
// other formats, saying what they are where their signature tells.
absl::StatusOr<ImageSize> ProbeImage(std::string_view bytes);

// Decodes in the file's own mode: grey, grey of 16 bits, RGB, RGB with alpha or CMYK. Palettes
// become RGB, other 16-bit samples their high bytes; transparency chunks and orientation tags are
// not applied. JPEG: accurate integer DCT, smooth upsampling. Errors: DATA_LOSS for damage, files
// that end early included; UNIMPLEMENTED for other formats.
absl::Status DecodeImage(std::string_view bytes, Image& out);

// A PNG file of an 8-bit grey, RGB or RGBA image. `compression` as zlib's level, 0 to 9.
absl::StatusOr<std::string> EncodePng(const Image& image, int compression = 6);

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_CODEC_H_
