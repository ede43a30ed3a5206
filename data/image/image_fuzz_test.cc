// Any bytes as an image file: decoding gives as many pixels as the header says, or an error.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/resize.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero::data;  // NOLINT: the function lives outside the namespace
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<ImageSize> announced = ProbeImage(bytes);
  // Larger images only make the search slow.
  if (!announced.ok() || announced->Area() > 1 << 14) return 0;
  Image image;
  if (!DecodeImage(bytes, image).ok()) return 0;
  CHECK(image.size == *announced);
  CHECK_EQ(image.pixels.size(), static_cast<size_t>(image.size.Area() * image.channels));
  ResizeScratch scratch;
  Image out;
  ResizeToRgb(image, {.height = 5, .width = 17}, scratch, out);
  return 0;
}
