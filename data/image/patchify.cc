#include "hetero/data/image/patchify.h"

#include "absl/log/check.h"

namespace hetero::data {

Patchifier::Patchifier(int patch_size, const Normalization& normalization)
    : patch_size_(patch_size) {
  CHECK_GT(patch_size, 0);
  for (size_t c = 0; c < 3; ++c) {
    for (size_t v = 0; v < 256; ++v) {
      const float scaled = static_cast<float>(v) / 255.0f;
      table_[c][v] = (scaled - normalization.mean[c]) / normalization.std[c];
    }
  }
}

void Patchifier::Run(const Image& rgb, std::span<float> out) const {
  const int p = patch_size_;
  CHECK_EQ(rgb.channels, 3);
  CHECK(rgb.size.height % p == 0 && rgb.size.width % p == 0);
  CHECK_EQ(static_cast<int64_t>(out.size()), NumPatches(rgb.size) * patch_elements());
  const size_t row_bytes = static_cast<size_t>(rgb.size.width) * 3;
  float* to = out.data();
  for (int py = 0; py < rgb.size.height; py += p) {
    for (int px = 0; px < rgb.size.width; px += p) {
      const uint8_t* corner = rgb.pixels.data() + py * row_bytes + size_t{3} * px;
      for (int c = 0; c < 3; ++c) {
        const std::array<float, 256>& table = table_[c];
        for (int y = 0; y < p; ++y) {
          const uint8_t* from = corner + y * row_bytes + c;
          for (int x = 0; x < p; ++x) *to++ = table[from[3 * x]];
        }
      }
    }
  }
}

}  // namespace hetero::data
