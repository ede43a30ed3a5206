#include "hetero/trainer/timing/fit_rates.h"

#include <cmath>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

std::vector<MeasuredTime> Times(const FittedRates& rates, std::mt19937_64& random,
                                double noise = 0) {
  std::uniform_real_distribution<double> size(3, 9);
  std::uniform_real_distribution<double> off(-noise, noise);
  std::vector<MeasuredTime> times;
  for (int i = 0; i < 12; ++i) {
    MeasuredTime time = {.calls = 1.0 + i % 5,
                         .flops = std::pow(10, size(random)),
                         .bytes = std::pow(10, size(random))};
    time.seconds = rates.Seconds(time) * (1 + off(random));
    times.push_back(time);
  }
  return times;
}

TEST(FitRatesTest, FindsTheRatesOfExactTimes) {
  std::mt19937_64 random = FreshGenerator();
  for (const FittedRates& rates : {FittedRates{1e-6, 1e-11, 1e-10}, FittedRates{1e-5, 0, 2e-10},
                                   FittedRates{0, 1e-11, 0}, FittedRates{3e-6, 0, 0}}) {
    for (const MeasuredTime& time : Times(rates, random)) {
      const FittedRates fitted = FitRates(Times(rates, random));
      EXPECT_NEAR(fitted.Seconds(time) / time.seconds, 1, 1e-6);
    }
  }
}

TEST(FitRatesTest, NoRateIsNegativeAndErrorsAreOfTheSizeOfTheNoise) {
  std::mt19937_64 random = FreshGenerator();
  const FittedRates rates = {1e-6, 1e-11, 1e-10};
  for (int round = 0; round < 20; ++round) {
    const std::vector<MeasuredTime> times = Times(rates, random, 0.1);
    const FittedRates fitted = FitRates(times);
    EXPECT_GE(fitted.call, 0);
    EXPECT_GE(fitted.flop, 0);
    EXPECT_GE(fitted.byte, 0);
    double squares = 0;
    for (const MeasuredTime& time : times) {
      squares += std::pow(fitted.Seconds(time) / time.seconds - 1, 2);
    }
    EXPECT_LE(std::sqrt(squares / static_cast<double>(times.size())), 0.1);
  }
}

TEST(FitRatesTest, WithoutTimesThereAreNoRates) {
  EXPECT_EQ(FitRates({}).Seconds({.calls = 1, .flops = 1, .bytes = 1}), 0);
  const std::vector<MeasuredTime> nothing = {{.calls = 3, .flops = 5}};
  EXPECT_EQ(FitRates(nothing).Seconds({.calls = 1, .flops = 1, .bytes = 1}), 0);
}

}  // namespace
}  // namespace hetero
