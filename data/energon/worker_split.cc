#include "hetero/data/energon/worker_split.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hetero::data {
namespace {

std::vector<int64_t> Interleaved(std::span<const int64_t> list) {
  if (list.size() <= 2) return {list.begin(), list.end()};
  const std::vector<int64_t> left = Interleaved(list.first(list.size() / 2));
  const std::vector<int64_t> right = Interleaved(list.subspan(list.size() / 2));
  std::vector<int64_t> out;
  out.reserve(list.size());
  for (size_t i = 0; i < right.size(); ++i) {
    if (i < left.size()) out.push_back(left[i]);
    out.push_back(right[i]);
  }
  return out;
}

// Appends where the parts of [begin, end) begin.
void AppendParts(int64_t begin, int64_t end, std::optional<int64_t> max_samples,
                 std::vector<int64_t>& out) {
  const auto length = static_cast<double>(end - begin);
  if (!max_samples.has_value() || length <= static_cast<double>(*max_samples) * 1.5) {
    out.push_back(begin);
    return;
  }
  // Half to even, the default of the floating-point environment.
  const double num_parts =
      std::max(std::nearbyint(length / static_cast<double>(*max_samples)), 1.0);
  const double step = length / num_parts;
  for (double part = 0; part < num_parts; ++part) {
    out.push_back(begin + static_cast<int64_t>(part * step));
  }
}

}  // namespace

std::vector<int64_t> BitReversal(int64_t n) {
  std::vector<int64_t> list(n);
  std::iota(list.begin(), list.end(), int64_t{0});
  return Interleaved(list);
}

std::vector<int64_t> WorkerBorders(IndexRange samples, int64_t num_workers, int64_t rotation) {
  const int64_t remainder = samples.count % num_workers;
  const std::vector<int64_t> order = BitReversal(num_workers);
  std::vector<int64_t> borders(num_workers + 1, samples.count / num_workers);
  borders[0] = samples.first;
  for (int64_t i = 0; i < remainder; ++i) ++borders[1 + order[(i + rotation) % num_workers]];
  std::partial_sum(borders.begin(), borders.end(), borders.begin());
  return borders;
}

std::vector<int64_t> SliceBorders(std::span<const int64_t> shard_borders, IndexRange samples,
                                  std::optional<int64_t> max_samples) {
  std::vector<int64_t> borders;
  auto shard_end = std::upper_bound(shard_borders.begin(), shard_borders.end(), samples.first);
  for (int64_t begin = samples.first; begin < samples.end(); ++shard_end) {
    const int64_t end = std::min(*shard_end, samples.end());
    if (end > begin) AppendParts(begin, end, max_samples, borders);
    begin = end;
  }
  borders.push_back(samples.end());
  return borders;
}

}  // namespace hetero::data
