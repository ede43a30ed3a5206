#include "hetero/data/blended_order.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "hetero/data/counter_hash.h"

namespace hetero::data {
namespace {

// What a stream of the seed is for.
constexpr uint64_t kRounds = 1;
constexpr uint64_t kParts = 2;

}  // namespace

BlendedOrder::BlendedOrder(std::span<const BlendedPart> parts, uint64_t seed) : seed_(seed) {
  int64_t first = 0;
  for (size_t k = 0; k < parts.size(); ++k) {
    if (parts[k].per_round > 0) {
      parts_.push_back(
          {.first = first,
           .order = SampleOrder::Shuffled(parts[k].num_samples, StreamOf(seed, kParts, k)).value(),
           .round_begin = round_size_,
           .per_round = parts[k].per_round});
      round_size_ += parts[k].per_round;
    }
    first += parts[k].num_samples;
  }
}

int64_t BlendedOrder::IndexAt(int64_t global_index) {
  const int64_t round = global_index / round_size_;
  const auto number = static_cast<int64_t>(
      Permutation(round_size_, StreamOf(seed_, kRounds, round))(global_index % round_size_));
  const auto after = std::ranges::upper_bound(parts_, number, {}, &Part::round_begin);
  const Part& part = *std::prev(after);
  const int64_t taken = round * part.per_round + (number - part.round_begin);
  return part.first + *part.order.DatasetIndex(taken);
}

std::vector<int64_t> RoundOfWeights(std::span<const double> weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> counts;
  for (const double weight : weights) {
    const auto count = static_cast<int64_t>(std::llround(weight / sum * kWeightedRound));
    counts.push_back(weight > 0 ? std::max<int64_t>(count, 1) : 0);
  }
  // What rounding leaves over or takes too much is least of the largest.
  *std::ranges::max_element(counts) +=
      kWeightedRound - std::accumulate(counts.begin(), counts.end(), int64_t{0});
  return counts;
}

}  // namespace hetero::data
