#ifndef HETERO_DATA_COUNTER_HASH_H_
#define HETERO_DATA_COUNTER_HASH_H_

// Random words as a pure function of what they are for: no state, the same on every machine.

#include <cstdint>

namespace hetero::data {

// The output function of SplitMix64 (Steele, Lea and Flood 2014, constants of Stafford's mix 13):
// a bijection of 64-bit words whose every output bit depends on every input bit.
constexpr uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The word at `counter` of stream `stream`.
constexpr uint64_t CounterHash(uint64_t stream, uint64_t counter) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;  // SplitMix64's increment
  return MixBits(MixBits(stream + kGolden) + (counter + 1) * kGolden);
}

// A stream for every combination of arguments.
constexpr uint64_t StreamOf(uint64_t a, uint64_t b, uint64_t c = 0) {
  return CounterHash(CounterHash(a, b), c);
}

// `word` scaled to [0, bound) with a bias below bound / 2^64 (Lemire 2019).
constexpr uint64_t Below(uint64_t word, uint64_t bound) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(word) * bound >> 64);
}

}  // namespace hetero::data

#endif  // HETERO_DATA_COUNTER_HASH_H_
