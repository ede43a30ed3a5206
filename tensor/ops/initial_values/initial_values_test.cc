#include "hetero/tensor/ops/initial_values/initial_values.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

TEST(InitialValuesTest, PhiloxMatchesThePublishedVectors) {
  // Known-answer vectors of the authors' Random123 distribution for philox4x32-10.
  EXPECT_EQ(Philox(0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
}

TEST(InitialValuesTest, NormalsInvertTheDistributionFunction) {
  for (uint32_t word = 5; word < 0xfffe0000u; word += 104729) {
    const double u = (word + 0.5) * 0x1p-32;
    const double x = NormalFromWord(word);
    EXPECT_NEAR(0.5 * std::erfc(-x / std::sqrt(2.0)) / u, 1.0, 2e-7 * (1 + x * x)) << word;
  }
  EXPECT_NEAR(NormalFromWord(0), -6.3381, 1e-3);
}

TEST(InitialValuesTest, MomentsAreWithinFiveStandardErrors) {
  constexpr int64_t kCount = 200'000;
  const uint64_t key = StreamKey(1234, "decoder.layers.3.weight");
  double sum = 0;
  double squares = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double x = InitialValue(Init::Normal(0.02), key, i);
    sum += x;
    squares += x * x;
  }
  EXPECT_LT(std::abs(sum / kCount), 5 * 0.02 / std::sqrt(kCount));
  EXPECT_LT(std::abs(std::sqrt(squares / kCount) / 0.02 - 1), 5 / std::sqrt(2.0 * kCount));
}

TEST(InitialValuesTest, MambaVectorsAreWhatTheirNamesSay) {
  const uint64_t key = StreamKey(1, "dt_bias");
  for (int64_t i = 0; i < 1000; ++i) {
    const double dt = std::log1p(std::exp(InitialValue(Init::InverseSoftplus(1e-3, 1e-1), key, i)));
    EXPECT_GE(dt, 1e-3 * (1 - 1e-9));
    EXPECT_LE(dt, 1e-1 * (1 + 1e-9));
    const double a = std::exp(InitialValue(Init::LogOfUniform(1, 16), key, i));
    EXPECT_GE(a, 1.0);
    EXPECT_LE(a, 16.0);
  }
}

TEST(InitialValuesTest, ABoxHasTheValuesOfItsPlace) {
  const Init init = Init::Normal(1);
  constexpr uint64_t kKey = 77;
  const std::vector<int64_t> shape = {4, 6, 5}, begin = {1, 2, 0};
  StreamWithWorkspace stream;
  HostTensor<double> wide({2, 3, 8});
  const TensorView box = wide.view().Columns(3, 5);
  ASSERT_THAT(FillInitialValues(init, kKey, shape, begin, box, *stream), IsOk());
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t k = 0; k < 8; ++k) {
        const double value = wide[(i * 3 + j) * 8 + k];
        if (k < 3) {
          EXPECT_TRUE(std::isnan(value)) << i << " " << j << " " << k;
        } else {
          EXPECT_EQ(value, InitialValue(init, kKey, ((1 + i) * 6 + 2 + j) * 5 + k - 3));
        }
      }
    }
  }
}

}  // namespace
}  // namespace hetero
