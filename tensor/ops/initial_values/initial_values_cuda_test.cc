#include <cstdint>
#include <ostream>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/initial_values/initial_values.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Distribution {
  const char* name;
  Init init;

  friend void PrintTo(const Distribution& d, std::ostream* out) { *out << d.name; }
};

const Distribution kDistributions[] = {{"constant", Init::Constant(0.1)},
                                       {"normal", Init::Normal(0.02)},
                                       {"uniform", Init::Uniform(-0.3, 0.7)},
                                       {"log of uniform", Init::LogOfUniform(1, 16)},
                                       {"inverse softplus", Init::InverseSoftplus(1e-3, 1e-1)}};

class InitialValuesCudaTest : public ::testing::TestWithParam<std::tuple<DType, Distribution>> {};

// A million words reach far into the tails. The box is a slice of a wider tensor on the GPU.
TEST_P(InitialValuesCudaTest, AreTheCpuSideToTheBit) {
  const auto [dtype, distribution] = GetParam();
  constexpr int64_t kRows = 1021, kColumns = 1033, kGap = 7;
  const std::vector<int64_t> shape = {3, 2048, kColumns + 2}, begin = {1, 517, 2};
  const uint64_t key = StreamKey(9, distribution.name);
  HostTensor<float> expected({1, kRows, kColumns});
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  ASSERT_THAT(FillInitialValues(distribution.init, key, shape, begin, expected.view(), *cpu),
              IsOk());
  const DeviceTensor wide(dtype, {1, kRows, kGap + kColumns}, *gpu);
  ASSERT_THAT(FillInitialValues(distribution.init, key, shape, begin,
                                wide.view().Columns(kGap, kColumns), *gpu),
              IsOk());
  const std::vector<double> values = wide.Values();
  int64_t num_differing = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    const double* const at = values.data() + row * (kGap + kColumns);
    for (int64_t i = 0; i < kGap; ++i) ASSERT_NE(at[i], at[i]) << "the gap of row " << row;
    for (int64_t i = 0; i < kColumns; ++i) {
      const float value = expected[row * kColumns + i];
      const double stored = dtype == DType::kF32 ? value : static_cast<float>(BFloat16(value));
      if (at[kGap + i] == stored) continue;
      if (++num_differing < 5) {
        ADD_FAILURE() << "row " << row << " column " << i << ": " << at[kGap + i] << ", not "
                      << stored;
      }
    }
  }
  EXPECT_EQ(num_differing, 0);
}

INSTANTIATE_TEST_SUITE_P(Distributions, InitialValuesCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kDistributions)));

TEST(InitialValuesCudaTest, FillATensorWithoutDims) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor scalar(DType::kF32, {}, *gpu);
  ASSERT_THAT(FillInitialValues(Init::Normal(1), 5, {}, {}, scalar.view(), *gpu), IsOk());
  EXPECT_EQ(scalar.Values()[0], static_cast<float>(InitialValue(Init::Normal(1), 5, 0)));
}

}  // namespace
}  // namespace hetero
