#include "hetero/data/image/signature.h"

#include <cstddef>

namespace hetero::data {
namespace {

struct Signature {
  std::string_view format;
  size_t offset;
  std::string_view bytes;
};

// As the formats' own specifications give them. Formats in a container come before the container.
constexpr Signature kSignatures[] = {
    {"a PNG image", 0, std::string_view("\x89PNG\r\n\x1a\n", 8)},
    {"a JPEG image", 0, "\xff\xd8\xff"},
    {"a WebP image", 8, "WEBP"},
    {"a RIFF file", 0, "RIFF"},
    {"a GIF image", 0, "GIF8"},
    {"a BMP image", 0, "BM"},
    {"a TIFF image", 0, std::string_view("II*\0", 4)},
    {"a TIFF image", 0, std::string_view("MM\0*", 4)},
    {"an AVIF image", 4, "ftypavif"},
    {"a HEIC image", 4, "ftyphei"},
    {"a HEIC image", 4, "ftypmif1"},
    {"an MP4 file", 4, "ftyp"},
    {"a JPEG 2000 image", 0, std::string_view("\0\0\0\x0cjP  ", 8)},
    {"a JPEG XL image", 0, std::string_view("\0\0\0\x0cJXL ", 8)},
    {"a JPEG XL image", 0, "\xff\x0a"},
    {"a Photoshop file", 0, "8BPS"},
    {"a PDF file", 0, "%PDF-"},
    {"gzip data", 0, "\x1f\x8b"},
    {"an SVG image", 0, "<svg"},
    {"an HTML page", 0, "<html"},
    {"an HTML page", 0, "<HTML"},
    {"an HTML page", 0, "<!DOCTYPE"},
    {"an HTML page", 0, "<!doctype"},
    {"XML text", 0, "<?xml"},
};

}  // namespace

std::optional<std::string_view> KnownFormat(std::string_view bytes) {
  for (const Signature& signature : kSignatures) {
    if (bytes.size() >= signature.offset &&
        bytes.substr(signature.offset).starts_with(signature.bytes)) {
      return signature.format;
    }
  }
  return std::nullopt;
}

}  // namespace hetero::data
