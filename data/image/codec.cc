#include "hetero/data/image/codec.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/image/jpeg.h"
#include "hetero/data/image/png.h"
#include "hetero/data/image/signature.h"
#include "hetero/data/image/webp.h"

namespace hetero::data {
namespace {

absl::Status UnknownFormat(std::string_view bytes) {
  if (bytes.empty()) return absl::DataLossError("the file has 0 bytes");
  const std::optional<std::string_view> format = KnownFormat(bytes);
  return absl::UnimplementedError(
      absl::StrCat("the bytes are ", format.has_value() ? absl::StrCat(*format, ", ") : "",
                   "none of PNG, JPEG and WebP"));
}

absl::Status CheckSize(ImageSize size) {
  if (size.height <= 0 || size.width <= 0 || size.Area() > kMaxImagePixels) {
    return absl::DataLossError(absl::StrFormat("an image of %d x %d pixels; 1 to %d are accepted",
                                               size.width, size.height, kMaxImagePixels));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageSize> ProbeImage(std::string_view bytes) {
  ImageSize size;
  if (internal::IsPng(bytes)) {
    HETERO_ASSIGN_OR_RETURN(size, internal::ProbePng(bytes));
  } else if (internal::IsJpeg(bytes)) {
    HETERO_ASSIGN_OR_RETURN(size, internal::ProbeJpeg(bytes));
  } else if (internal::IsWebp(bytes)) {
    HETERO_ASSIGN_OR_RETURN(size, internal::ProbeWebp(bytes));
  } else {
    return UnknownFormat(bytes);
  }
  HETERO_RETURN_IF_ERROR(CheckSize(size));
  return size;
}

absl::Status DecodeImage(std::string_view bytes, Image& out) {
  HETERO_RETURN_IF_ERROR(ProbeImage(bytes));
  if (internal::IsPng(bytes)) return internal::DecodePng(bytes, out);
  if (internal::IsJpeg(bytes)) return internal::DecodeJpeg(bytes, out);
  return internal::DecodeWebp(bytes, out);
}

absl::StatusOr<std::string> EncodePng(const Image& image, int compression) {
  return internal::EncodePng(image, compression);
}

}  // namespace hetero::data
