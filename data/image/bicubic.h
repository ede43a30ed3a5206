#ifndef HETERO_DATA_IMAGE_BICUBIC_H_
#define HETERO_DATA_IMAGE_BICUBIC_H_

#include <vector>

namespace hetero::data::internal {

inline constexpr double kBicubicSupport = 2.0;  // the filter is 0 from there on

// The pixels of one axis that make an output pixel: from `start` on, one of each weight.
struct BicubicTaps {
  int start = 0;
  std::vector<double> weights;  // with sum 1
};

// Overwrites `taps` with those of pixel `i` when `in_size` pixels become `out_size`: a = -0.5, as
// wide as the scale where that shrinks. Precondition: both sizes positive, 0 <= i < out_size.
void ComputeBicubicTaps(int in_size, int out_size, int i, BicubicTaps& taps);

}  // namespace hetero::data::internal

#endif  // HETERO_DATA_IMAGE_BICUBIC_H_
