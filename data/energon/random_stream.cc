#include "hetero/data/energon/random_stream.h"

#include <numeric>
#include <utility>

namespace hetero::data {
namespace {

constexpr int64_t kTwoWords = int64_t{1} << 28;
constexpr uint32_t kUnitMask = (uint32_t{1} << 24) - 1;

}  // namespace

int64_t RandomStream::Below(int64_t n) {
  uint64_t value = Draw();
  if (n >= kTwoWords) value = (value << 32) | Draw();
  return static_cast<int64_t>(value % static_cast<uint64_t>(n));
}

float RandomStream::Unit() { return static_cast<float>(Draw() & kUnitMask) * 0x1p-24f; }

std::vector<int64_t> RandomStream::Permutation(int64_t n) {
  std::vector<int64_t> values(n);
  std::iota(values.begin(), values.end(), int64_t{0});
  for (int64_t i = 0; i + 1 < n; ++i) std::swap(values[i], values[i + Draw() % (n - i)]);
  return values;
}

size_t RandomStream::Choice(std::span<const float> weights) {
  return weights.size() == 1 ? 0 : Chosen(Unit(), weights);
}

size_t RandomStream::Chosen(float unit, std::span<const float> weights) {
  const auto total = static_cast<float>(std::accumulate(weights.begin(), weights.end(), 0.0));
  // Below the total, which the last sum reaches.
  const float value = unit * total;
  double sum = weights[0];
  size_t i = 0;
  while (static_cast<float>(sum) <= value) sum += weights[++i];
  return i;
}

}  // namespace hetero::data
