#include "hetero/base/fresh_random.h"

#include <gtest/gtest.h>

#include <iostream>
#include <random>
#include <string>

#include "hetero/base/fnv.h"

namespace hetero {
namespace {

uint32_t SeedOfRun() {
  static const uint32_t seed = [] {
    uint32_t value = static_cast<uint32_t>(GTEST_FLAG_GET(random_seed));
    while (value == 0) value = std::random_device()() % 100000;  // what the flag may be
    std::cout << "fresh random numbers: --gtest_random_seed=" << value << std::endl;
    return value;
  }();
  return seed;
}

}  // namespace

// Of the test's name: a test that runs alone gets what it gets among others. Of the number of the
// call, which tells the generators of a test apart.
uint64_t FreshSeed() {
  static std::string test;
  static uint64_t calls = 0;
  const testing::TestInfo* const info = testing::UnitTest::GetInstance()->current_test_info();
  const std::string name =
      info == nullptr ? "" : std::string(info->test_suite_name()) + "." + info->name();
  calls = name == test ? calls + 1 : 0;
  test = name;
  std::seed_seq sequence{uint64_t{SeedOfRun()}, Fnv1a(test), Fnv1a(test) >> 32, calls};
  uint32_t words[2];
  sequence.generate(words, words + 2);
  return uint64_t{words[0]} << 32 | words[1];
}

}  // namespace hetero
