#ifndef HETERO_DATA_ENERGON_RANDOM_STREAM_H_
#define HETERO_DATA_ENERGON_RANDOM_STREAM_H_

// What Megatron-Energon 7.4.1 draws from torch's generator on a CPU, number for number.

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace hetero::data {

// One stream of draws. Its state is its seed and the number of words drawn, so it is restored in
// time linear in that number: 4 s for a billion.
class RandomStream {
 public:
  explicit RandomStream(uint32_t seed, uint64_t num_draws = 0)
      : generator_(seed), num_draws_(num_draws) {
    generator_.discard(num_draws);
  }

  // 32-bit words so far.
  uint64_t num_draws() const { return num_draws_; }

  // In [0, n), one word; two from 2^28 on, the first of them the high one. Precondition: n > 0.
  int64_t Below(int64_t n);

  // In [0, 1), a multiple of 2^-24: the low 24 bits of one word.
  float Unit();

  // Of [0, n), Fisher and Yates from the front, n - 1 words. Precondition: 0 <= n < 2^32.
  std::vector<int64_t> Permutation(int64_t n);

  // An index with the chance of its weight: Chosen(Unit(), weights), but no word for one weight.
  size_t Choice(std::span<const float> weights);

  // The first index whose sum of weights so far is above `unit` of the whole sum, so that none of
  // weight 0 is taken. Sums run in double and are compared as float.
  // Precondition: a weight is positive, none negative; 0 <= unit <= 1 - 2^-24.
  static size_t Chosen(float unit, std::span<const float> weights);

 private:
  uint32_t Draw() {
    ++num_draws_;
    return static_cast<uint32_t>(generator_());
  }

  std::mt19937 generator_;
  uint64_t num_draws_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_RANDOM_STREAM_H_
