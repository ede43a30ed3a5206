#include "hetero/data/image/webp.h"

#include <webp/decode.h>

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "hetero/base/out_of_memory.h"
#include "hetero/base/status.h"

namespace hetero::data::internal {
namespace {

constexpr size_t kRiffHeader = 8;  // "RIFF" and how many bytes follow
constexpr size_t kFormat = 12;     // and "WEBP"

const uint8_t* Address(std::string_view bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

absl::Status ToStatus(VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_OK:
      return absl::OkStatus();
    case VP8_STATUS_OUT_OF_MEMORY:
      return OutOfMemoryError("WebP: no memory for the decoder");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return absl::DataLossError("WebP: the file ends early");
    default:
      return absl::DataLossError(
          absl::StrCat("WebP: the file is damaged, libwebp's error ", static_cast<int>(code)));
  }
}

// The file without what lies behind it: libwebp decodes what is there of one that ends early.
absl::StatusOr<std::string_view> WholeFile(std::string_view bytes) {
  const uint8_t* size = Address(bytes) + 4;
  const uint64_t end = kRiffHeader + (uint64_t{size[3]} << 24 | uint64_t{size[2]} << 16 |
                                      uint64_t{size[1]} << 8 | uint64_t{size[0]});
  if (end > bytes.size()) return absl::DataLossError("WebP: the file ends early");
  return bytes.substr(0, end);
}

absl::StatusOr<WebPBitstreamFeatures> ReadHeader(std::string_view file) {
  WebPBitstreamFeatures features;
  HETERO_RETURN_IF_ERROR(ToStatus(WebPGetFeatures(Address(file), file.size(), &features)));
  if (features.has_animation != 0) {
    return absl::UnimplementedError("an animated WebP image; still ones are read");
  }
  return features;
}

}  // namespace

bool IsWebp(std::string_view bytes) {
  return bytes.size() >= kFormat && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP";
}

absl::StatusOr<ImageSize> ProbeWebp(std::string_view bytes) {
  HETERO_ASSIGN_OR_RETURN(const std::string_view file, WholeFile(bytes));
  HETERO_ASSIGN_OR_RETURN(const WebPBitstreamFeatures features, ReadHeader(file));
  return ImageSize{.height = features.height, .width = features.width};
}

absl::Status DecodeWebp(std::string_view bytes, Image& out) {
  HETERO_ASSIGN_OR_RETURN(const std::string_view file, WholeFile(bytes));
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    return absl::InternalError("libwebp is not the one that this was built with");
  }
  HETERO_ASSIGN_OR_RETURN(config.input, ReadHeader(file));
  const bool has_alpha = config.input.has_alpha != 0;
  out.Reshape({.height = config.input.height, .width = config.input.width}, has_alpha ? 4 : 3);
  config.output.colorspace = has_alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {.rgba = out.pixels.data(),
                          .stride = out.size.width * out.channels,
                          .size = out.pixels.size()};
  return ToStatus(WebPDecode(Address(file), file.size(), &config));
}

}  // namespace hetero::data::internal
