#ifndef HETERO_DATA_IMAGE_PATCHIFY_H_
#define HETERO_DATA_IMAGE_PATCHIFY_H_

// Pixels to normalised patch vectors.

#include <array>
#include <cstdint>
#include <span>

#include "hetero/data/image/image.h"

namespace hetero::data {

// Mean and standard deviation of R, G and B in units of a full-scale pixel.
struct Normalization {
  std::array<float, 3> mean;
  std::array<float, 3> std;
};

// The constants of CLIP and RADIO (Radford et al. 2021).
inline constexpr Normalization kClipNormalization = {
    .mean = {0.48145466f, 0.4578275f, 0.40821073f},
    .std = {0.26862954f, 0.26130258f, 0.27577711f},
};

// Turns RGB images into rows of 3 * patch * patch floats: (v / 255 - mean) / std in float32,
// ordered [channel][y][x] inside a patch, patches row-major.
class Patchifier {
 public:
  Patchifier(int patch_size, const Normalization& normalization);

  int patch_size() const { return patch_size_; }
  static constexpr int64_t PatchElements(int64_t patch_size) { return 3 * patch_size * patch_size; }
  int64_t patch_elements() const { return PatchElements(patch_size_); }
  int64_t NumPatches(ImageSize size) const {
    return size.Area() / (int64_t{patch_size_} * patch_size_);
  }

  // Precondition: `rgb` has three channels and sides that patch_size divides;
  // out.size() == NumPatches(rgb.size) * patch_elements().
  void Run(const Image& rgb, std::span<float> out) const;

 private:
  int patch_size_;
  std::array<std::array<float, 256>, 3> table_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_PATCHIFY_H_
