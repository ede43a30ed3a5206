#include "hetero/data/image/bicubic.h"

#include <algorithm>
#include <cmath>

namespace hetero::data::internal {
namespace {

double Bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

}  // namespace

void ComputeBicubicTaps(int in_size, int out_size, int i, BicubicTaps& taps) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kBicubicSupport * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;
  const double center = (i + 0.5) * scale;
  const int low = std::max(0, static_cast<int>(center - support + 0.5));
  const int high = std::min(in_size, static_cast<int>(center + support + 0.5));
  taps.start = low;
  taps.weights.clear();
  double sum = 0;
  for (int j = 0; j < high - low; ++j) {
    taps.weights.push_back(Bicubic((j + low - center + 0.5) * inverse_scale));
    sum += taps.weights.back();
  }
  for (double& weight : taps.weights) weight /= sum;
}

}  // namespace hetero::data::internal
