#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/persistent_grid.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// Sums of `terms` products of standard normal numbers, so of size sqrt(terms), in f32, and one
// rounding to the output. One term after another, the roundings of the partial sums walk terms
// epsilons / 7 far as a rule; of a million sums some have partial sums four times as large as the
// rule and a walk five times as long for that. TF32 would be off by sqrt(terms) 2000 epsilons.
// Tensor cores cut what they align where f32 units round it: each of the terms / 16 partial sums
// loses up to an epsilon of its size, always towards zero.
ErrorSpec Tolerance(DType inputs, DType output, int64_t terms) {
  const double count = static_cast<double>(terms);
  const double size = std::sqrt(count);
  const double epsilons =
      inputs == DType::kF32 ? 8 * (1 + size) + 3 * count : 16 * (1 + size) + size * count / 16;
  return {.absolute = epsilons * Epsilon<float>(),
          .relative = Epsilon(output) + 8 * Epsilon<float>()};
}

struct Case {
  std::vector<int64_t> rows;  // of each expert
  int64_t n, k;

  friend void PrintTo(const Case& c, std::ostream* out) {
    *out << "rows " << ::testing::PrintToString(c.rows) << " N " << c.n << " K " << c.k;
  }
};

class ExpertGemmCudaTest : public ::testing::TestWithParam<std::tuple<DType, Case>> {
 protected:
  ExpertGemmCudaTest() {
    for (int64_t e = 0; e < num_experts; ++e) {
      offsets[e + 1] = offsets[e] + static_cast<int32_t>(c.rows[e]);
      longest = std::max(longest, c.rows[e]);
    }
    num_rows = offsets[num_experts];
  }

  const DType dtype = std::get<0>(GetParam());
  const Case c = std::get<1>(GetParam());
  const int64_t num_experts = static_cast<int64_t>(c.rows.size());
  HostTensor<int32_t> offsets{num_experts + 1};
  int64_t num_rows = 0;
  int64_t longest = 0;
  std::mt19937_64 generator = FreshGenerator();
  StreamWithWorkspace cpu, gpu{DeviceKind::kCuda};
};

TEST_P(ExpertGemmCudaTest, EqualsTheCpuAndItself) {
  const auto x = NormalFor(dtype, {num_rows, c.k}, generator);
  const auto w = NormalFor(dtype, {num_experts, c.n, c.k}, generator);
  const auto dy = NormalFor(dtype, {num_rows, c.n}, generator);
  const auto before = NormalFor(DType::kF32, {num_experts, c.n, c.k}, generator);
  HostTensor<double> y({num_rows, c.n}), dx({num_rows, c.k}), dw({num_experts, c.n, c.k});
  auto dw_sum = before;
  ASSERT_THAT(ExpertLinearForward(x.view(), w.view(), offsets.view(), y.view(), *cpu), IsOk());
  ASSERT_THAT(ExpertLinearBackwardInput(dy.view(), w.view(), offsets.view(), dx.view(), *cpu),
              IsOk());
  ASSERT_THAT(
      ExpertLinearBackwardWeight(dy.view(), x.view(), offsets.view(), dw.view(), false, *cpu),
      IsOk());
  ASSERT_THAT(
      ExpertLinearBackwardWeight(dy.view(), x.view(), offsets.view(), dw_sum.view(), true, *cpu),
      IsOk());

  const DeviceTensor gpu_x(dtype, x, *gpu), gpu_w(dtype, w, *gpu), gpu_dy(dtype, dy, *gpu),
      gpu_offsets(DType::kI32, offsets, *gpu);
  std::vector<std::vector<uint8_t>> bits;
  for (int run = 0; run < 2; ++run) {
    SCOPED_TRACE(run);
    const DeviceTensor gpu_y(dtype, {num_rows, c.n}, *gpu), gpu_dx(dtype, {num_rows, c.k}, *gpu),
        gpu_dw(DType::kF32, {num_experts, c.n, c.k}, *gpu), gpu_dw_sum(DType::kF32, before, *gpu);
    ASSERT_THAT(
        ExpertLinearForward(gpu_x.view(), gpu_w.view(), gpu_offsets.view(), gpu_y.view(), *gpu),
        IsOk());
    ASSERT_THAT(ExpertLinearBackwardInput(gpu_dy.view(), gpu_w.view(), gpu_offsets.view(),
                                          gpu_dx.view(), *gpu),
                IsOk());
    ASSERT_THAT(ExpertLinearBackwardWeight(gpu_dy.view(), gpu_x.view(), gpu_offsets.view(),
                                           gpu_dw.view(), false, *gpu),
                IsOk());
    ASSERT_THAT(ExpertLinearBackwardWeight(gpu_dy.view(), gpu_x.view(), gpu_offsets.view(),
                                           gpu_dw_sum.view(), true, *gpu),
                IsOk());
    if (run == 0) {
      EXPECT_THAT(gpu_y.Values(), IsCloseTo(y.values(), Tolerance(dtype, dtype, c.k)));
      EXPECT_THAT(gpu_dx.Values(), IsCloseTo(dx.values(), Tolerance(dtype, dtype, c.n)));
      EXPECT_THAT(gpu_dw.Values(), IsCloseTo(dw.values(), Tolerance(dtype, DType::kF32, longest)));
      EXPECT_THAT(gpu_dw_sum.Values(),
                  IsCloseTo(dw_sum.values(), Tolerance(dtype, DType::kF32, longest)));
    }
    bits.push_back({});
    for (const DeviceTensor* out : {&gpu_y, &gpu_dx, &gpu_dw, &gpu_dw_sum}) {
      const std::vector<uint8_t> of_one = out->Bits();
      bits.back().insert(bits.back().end(), of_one.begin(), of_one.end());
    }
  }
  EXPECT_EQ(bits[0], bits[1]);
}

// A squared ReLU behind a product is that of the operation, from numbers that are rounded alike.
TEST_P(ExpertGemmCudaTest, ASquaredReluBehindAProductIsTheOperations) {
  const DeviceTensor x(dtype, NormalFor(dtype, {num_rows, c.k}, generator), *gpu),
      w(dtype, NormalFor(dtype, {num_experts, c.n, c.k}, generator), *gpu),
      dy(dtype, NormalFor(dtype, {num_rows, c.n}, generator), *gpu),
      f(dtype, NormalFor(dtype, {num_rows, c.k}, generator), *gpu),
      p(DType::kF32, NormalFor(DType::kF32, {num_rows}, generator), *gpu),
      gpu_offsets(DType::kI32, offsets, *gpu);
  const DeviceTensor y(dtype, {num_rows, c.n}, *gpu), a(dtype, {num_rows, c.n}, *gpu),
      df(dtype, {num_rows, c.k}, *gpu), dp(DType::kF32, {num_rows}, *gpu);
  ASSERT_THAT(ExpertLinearForward(x.view(), w.view(), gpu_offsets.view(), y.view(), *gpu), IsOk());
  ASSERT_THAT(SquaredReluForward(y.view(), p.view(), a.view(), *gpu), IsOk());
  ASSERT_THAT(ExpertLinearBackwardInput(dy.view(), w.view(), gpu_offsets.view(), df.view(), *gpu),
              IsOk());
  ASSERT_THAT(SquaredReluBackward({.da_TF = df.view(),
                                   .f_TF = f.view(),
                                   .p_T = p.view(),
                                   .df_TF = df.view(),
                                   .dp_T = dp.view()},
                                  *gpu),
              IsOk());
  std::vector<std::vector<uint8_t>> sums;
  for (int run = 0; run < 2; ++run) {
    const DeviceTensor y_too(dtype, {num_rows, c.n}, *gpu), a_too(dtype, {num_rows, c.n}, *gpu),
        df_too(dtype, {num_rows, c.k}, *gpu), dp_too(DType::kF32, {num_rows}, *gpu);
    ASSERT_THAT(ExpertLinearSquaredRelu(x.view(), w.view(), gpu_offsets.view(), p.view(),
                                        y_too.view(), a_too.view(), *gpu),
                IsOk());
    // Room for more rows than there are.
    const absl::StatusOr<TensorView> scratch = AllocateExpertScratch(c.k, num_rows + run, *gpu);
    ASSERT_THAT(scratch, IsOk());
    ASSERT_THAT(
        ExpertLinearSquaredReluBackward(dy.view(), w.view(), gpu_offsets.view(), f.view(), p.view(),
                                        df_too.view(), dp_too.view(), *scratch, *gpu),
        IsOk());
    EXPECT_EQ(y_too.Bits(), y.Bits());
    EXPECT_EQ(a_too.Bits(), a.Bits());
    EXPECT_EQ(df_too.Bits(), df.Bits());
    // Sums of K terms of up to 4² √N in another order.
    EXPECT_THAT(dp_too.Values(),
                IsCloseTo(dp.Values(), {.absolute = 16 * std::sqrt(static_cast<double>(c.n)) *
                                                    static_cast<double>(c.k) * Epsilon<float>(),
                                        .relative = 32 * Epsilon<float>()}));
    sums.push_back(dp_too.Bits());
  }
  EXPECT_EQ(sums[0], sums[1]);
}

// However many blocks share the tiles, which are then taken in another order.
TEST_P(ExpertGemmCudaTest, MultiprocessorsLeftToOthersChangeNothing) {
  const DeviceTensor x(dtype, NormalFor(dtype, {num_rows, c.k}, generator), *gpu),
      w(dtype, NormalFor(dtype, {num_experts, c.n, c.k}, generator), *gpu),
      dy(dtype, NormalFor(dtype, {num_rows, c.n}, generator), *gpu),
      p(DType::kF32, NormalFor(DType::kF32, {num_rows}, generator), *gpu),
      gpu_offsets(DType::kI32, offsets, *gpu);
  const auto before = NormalFor(DType::kF32, {num_experts, c.n, c.k}, generator);
  std::vector<std::vector<uint8_t>> bits;
  for (const int left : {0, 1, 16, 101, 1000}) {
    SCOPED_TRACE(left);
    const DeviceTensor y(dtype, {num_rows, c.n}, *gpu), a(dtype, {num_rows, c.n}, *gpu),
        dx(dtype, {num_rows, c.k}, *gpu), df(dtype, {num_rows, c.k}, *gpu),
        dp(DType::kF32, {num_rows}, *gpu), dw(DType::kF32, before, *gpu);
    ASSERT_THAT(LeaveMultiprocessors(left, *gpu), IsOk());
    ASSERT_THAT(ExpertLinearSquaredRelu(x.view(), w.view(), gpu_offsets.view(), p.view(), y.view(),
                                        a.view(), *gpu),
                IsOk());
    ASSERT_THAT(ExpertLinearBackwardInput(dy.view(), w.view(), gpu_offsets.view(), dx.view(), *gpu),
                IsOk());
    const absl::StatusOr<TensorView> scratch = AllocateExpertScratch(c.k, num_rows, *gpu);
    ASSERT_THAT(scratch, IsOk());
    ASSERT_THAT(ExpertLinearSquaredReluBackward(dy.view(), w.view(), gpu_offsets.view(), x.view(),
                                                p.view(), df.view(), dp.view(), *scratch, *gpu),
                IsOk());
    ASSERT_THAT(ExpertLinearBackwardWeight(dy.view(), x.view(), gpu_offsets.view(), dw.view(),
                                           /*accumulate=*/true, *gpu),
                IsOk());
    bits.push_back({});
    for (const DeviceTensor* out : {&y, &a, &dx, &df, &dp, &dw}) {
      const std::vector<uint8_t> of_one = out->Bits();
      bits.back().insert(bits.back().end(), of_one.begin(), of_one.end());
    }
    EXPECT_EQ(bits.back(), bits.front());
  }
}

// Infinite rows of one expert leave the results of all others as they are, to the bit.
TEST_P(ExpertGemmCudaTest, ExpertsDoNotSeeEachOther) {
  auto x = NormalFor(dtype, {num_rows, c.k}, generator);
  auto dy = NormalFor(dtype, {num_rows, c.n}, generator);
  const DeviceTensor w(dtype, NormalFor(dtype, {num_experts, c.n, c.k}, generator), *gpu),
      gpu_offsets(DType::kI32, offsets, *gpu);
  struct Results {
    std::vector<double> y, dx, dw;
  };
  const auto compute = [&](Results& results) {
    const DeviceTensor gpu_x(dtype, x, *gpu), gpu_dy(dtype, dy, *gpu),
        y(dtype, {num_rows, c.n}, *gpu), dx(dtype, {num_rows, c.k}, *gpu),
        dw(DType::kF32, {num_experts, c.n, c.k}, *gpu);
    ASSERT_THAT(ExpertLinearForward(gpu_x.view(), w.view(), gpu_offsets.view(), y.view(), *gpu),
                IsOk());
    ASSERT_THAT(
        ExpertLinearBackwardInput(gpu_dy.view(), w.view(), gpu_offsets.view(), dx.view(), *gpu),
        IsOk());
    ASSERT_THAT(ExpertLinearBackwardWeight(gpu_dy.view(), gpu_x.view(), gpu_offsets.view(),
                                           dw.view(), false, *gpu),
                IsOk());
    results = {y.Values(), dx.Values(), dw.Values()};
  };
  Results alone, beside;
  compute(alone);
  for (int64_t e = 0; e < num_experts; e += 2) {
    for (int64_t row = offsets[e]; row < offsets[e + 1]; ++row) {
      for (int64_t i = 0; i < c.k; ++i) x[row * c.k + i] = std::numeric_limits<float>::infinity();
      for (int64_t i = 0; i < c.n; ++i) dy[row * c.n + i] = std::numeric_limits<float>::infinity();
    }
  }
  compute(beside);
  const auto differing = [](const std::vector<double>& a, const std::vector<double>& b,
                            int64_t begin, int64_t end) {
    int64_t count = 0;
    for (int64_t i = begin; i < end; ++i) count += a[i] != b[i];
    return count;
  };
  for (int64_t e = 1; e < num_experts; e += 2) {
    SCOPED_TRACE(e);
    const int64_t begin = offsets[e], end = offsets[e + 1], size = c.n * c.k;
    EXPECT_EQ(differing(alone.y, beside.y, begin * c.n, end * c.n), 0);
    EXPECT_EQ(differing(alone.dx, beside.dx, begin * c.k, end * c.k), 0);
    EXPECT_EQ(differing(alone.dw, beside.dw, e * size, (e + 1) * size), 0);
  }
}

// Odd features take the plain kernel in bf16 too; multiples of 8 take tensor cores, below, at and
// above one tile, a pair of tiles and a stage.
INSTANTIATE_TEST_SUITE_P(
    Shapes, ExpertGemmCudaTest,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                       ::testing::Values(Case{{3, 0, 5, 1}, 7, 11}, Case{{0, 0}, 4, 3},
                                         Case{{0, 0}, 16, 8}, Case{{0, 9, 0}, 5, 16},
                                         Case{{140, 300, 1}, 131, 257}, Case{{1}, 8, 8},
                                         Case{{20, 31}, 96, 128},
                                         Case{{64, 128, 256, 64}, 192, 384},
                                         Case{{0, 777, 0, 0}, 264, 320},
                                         Case{{65, 1, 0, 257, 63, 1029, 192, 511}, 200, 584},
                                         Case{{513, 2, 700}, 712, 456})));

// Several tiles for every cluster of a large GPU, which a plain kernel would take long for.
INSTANTIATE_TEST_SUITE_P(ManyTiles, ExpertGemmCudaTest,
                         ::testing::Combine(::testing::Values(DType::kBF16),
                                            ::testing::Values(Case{
                                                {300, 0, 1500, 40, 2100}, 2312, 1160})));

TEST(ExpertGemmCudaTest, RefusesDoubles) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor x(DType::kF64, {2, 2}, *gpu), w(DType::kF64, {1, 2, 2}, *gpu),
      offsets(DType::kI32, HostTensor<int32_t>({2}, {0, 2}), *gpu);
  EXPECT_THAT(ExpertLinearForward(x.view(), w.view(), offsets.view(), x.view(), *gpu),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f32 and bf16")));
}

}  // namespace
}  // namespace hetero
