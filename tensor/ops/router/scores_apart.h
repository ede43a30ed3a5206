#ifndef HETERO_TENSOR_OPS_ROUTER_SCORES_APART_H_
#define HETERO_TENSOR_OPS_ROUTER_SCORES_APART_H_

// For tests that compare choices of experts between types or devices.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace hetero {

// Whether a token's experts are the same however the router rounds in f32: no two numbers of those
// that it compares, the scores, the biased scores, and the sums of the two best in each of
// `num_groups` groups, are as near as 16 epsilons. Rounding moves none of them by more than four.
// `logits` and `bias` have an element an expert.
template <typename T>
bool ScoresAreApart(std::span<const T> logits, std::span<const T> bias, size_t num_groups) {
  std::vector<double> scores, biased, sums;
  for (size_t e = 0; e < logits.size(); ++e) {
    scores.push_back(1 / (1 + std::exp(-static_cast<double>(logits[e]))));
    biased.push_back(scores.back() + bias[e]);
  }
  for (size_t g = 0; g < num_groups && num_groups > 1; ++g) {
    const size_t size = biased.size() / num_groups;
    std::vector<double> group(biased.begin() + g * size, biased.begin() + (g + 1) * size);
    std::ranges::sort(group, std::greater<>());
    sums.push_back(group[0] + group[1]);
  }
  for (std::vector<double>* compared : {&scores, &biased, &sums}) {
    std::ranges::sort(*compared);
    const auto near = [](double a, double b) {
      return b - a < 16 * std::numeric_limits<float>::epsilon();
    };
    if (std::ranges::adjacent_find(*compared, near) != compared->end()) return false;
  }
  return true;
}

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ROUTER_SCORES_APART_H_
