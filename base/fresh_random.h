#ifndef HETERO_BASE_FRESH_RANDOM_H_
#define HETERO_BASE_FRESH_RANDOM_H_

#include <cstdint>
#include <random>

namespace hetero {

// For tests: a seed that is another in every run of the program and in every test of a run.
// `--gtest_random_seed=N` (with bazel `--test_arg=--gtest_random_seed=N`) gives a run's seeds
// again; the N of a run is printed at the first call.
uint64_t FreshSeed();

// A generator with a seed of FreshSeed.
inline std::mt19937_64 FreshGenerator() { return std::mt19937_64(FreshSeed()); }

}  // namespace hetero

#endif  // HETERO_BASE_FRESH_RANDOM_H_
