#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

struct Case {
  std::vector<int64_t> rows;  // per expert
  int64_t n, k;
};

class ExpertGemmTest : public ::testing::TestWithParam<Case> {};

// Where each expert's rows begin, and where the last one's end.
HostTensor<int32_t> Offsets(const Case& c) {
  const int64_t num_experts = static_cast<int64_t>(c.rows.size());
  HostTensor<int32_t> offsets({num_experts + 1});
  for (int64_t e = 0; e < num_experts; ++e) {
    offsets[e + 1] = offsets[e] + static_cast<int32_t>(c.rows[e]);
  }
  return offsets;
}

// All three products, each against its sum, and the three are derivatives of one bilinear form.
template <typename T>
void ExpectProducts(const Case& c) {
  const int64_t e_count = static_cast<int64_t>(c.rows.size()), n = c.n, k = c.k;
  const HostTensor<int32_t> offsets = Offsets(c);
  const int64_t r = offsets[e_count];
  std::mt19937_64 random = FreshGenerator();
  const auto x = HostTensor<T>::Normal({r, k}, random);
  const auto w = HostTensor<T>::Normal({e_count, n, k}, random);
  const auto dy = HostTensor<T>::Normal({r, n}, random);
  HostTensor<T> y({r, n}), dx({r, k}), dw({e_count, n, k});
  std::vector<double> y_sum(r * n), dx_sum(r * k), dw_sum(e_count * n * k);
  for (int64_t e = 0; e < e_count; ++e) {
    for (int64_t i = offsets[e]; i < offsets[e + 1]; ++i) {
      for (int64_t a = 0; a < n; ++a) {
        for (int64_t b = 0; b < k; ++b) {
          const int64_t weight = (e * n + a) * k + b;
          y_sum[i * n + a] += static_cast<double>(x[i * k + b]) * w[weight];
          dx_sum[i * k + b] += static_cast<double>(dy[i * n + a]) * w[weight];
          dw_sum[weight] += static_cast<double>(dy[i * n + a]) * x[i * k + b];
        }
      }
    }
  }
  const ErrorSpec close{.absolute = 2 * Epsilon<T>() * static_cast<double>(32 + r + n + k)};
  StreamWithWorkspace stream;
  ASSERT_THAT(ExpertLinearForward(x.view(), w.view(), offsets.view(), y.view(), *stream), IsOk());
  EXPECT_THAT(y.values(), IsCloseTo(y_sum, close));
  ASSERT_THAT(ExpertLinearBackwardInput(dy.view(), w.view(), offsets.view(), dx.view(), *stream),
              IsOk());
  EXPECT_THAT(dx.values(), IsCloseTo(dx_sum, close));
  ASSERT_THAT(
      ExpertLinearBackwardWeight(dy.view(), x.view(), offsets.view(), dw.view(), false, *stream),
      IsOk());
  EXPECT_THAT(dw.values(), IsCloseTo(dw_sum, close));
  EXPECT_EQ(stream->ledger().total_flops(), 6.0 * r * n * k);

  ASSERT_THAT(
      ExpertLinearBackwardWeight(dy.view(), x.view(), offsets.view(), dw.view(), true, *stream),
      IsOk());
  for (double& value : dw_sum) value *= 2;
  EXPECT_THAT(dw.values(), IsCloseTo(dw_sum, close));
}

// A squared ReLU behind a product is that of the operation.
template <typename T>
void ExpectSquaredRelu(const Case& c) {
  const int64_t e_count = static_cast<int64_t>(c.rows.size()), n = c.n, k = c.k;
  const HostTensor<int32_t> offsets = Offsets(c);
  const int64_t r = offsets[e_count];
  std::mt19937_64 random = FreshGenerator();
  const auto x = HostTensor<T>::Normal({r, k}, random);
  const auto w = HostTensor<T>::Normal({e_count, n, k}, random);
  const auto dy = HostTensor<T>::Normal({r, n}, random);
  const auto f = HostTensor<T>::Normal({r, k}, random);
  const auto p = HostTensor<T>::Normal({r}, random);
  HostTensor<T> y({r, n}), a({r, n}), y_too({r, n}), a_too({r, n});
  HostTensor<T> df({r, k}), dp({r}), df_too({r, k}), dp_too({r});
  StreamWithWorkspace stream;
  ASSERT_THAT(ExpertLinearForward(x.view(), w.view(), offsets.view(), y.view(), *stream), IsOk());
  ASSERT_THAT(SquaredReluForward(y.view(), p.view(), a.view(), *stream), IsOk());
  ASSERT_THAT(ExpertLinearBackwardInput(dy.view(), w.view(), offsets.view(), df.view(), *stream),
              IsOk());
  ASSERT_THAT(SquaredReluBackward({.da_TF = df.view(),
                                   .f_TF = f.view(),
                                   .p_T = p.view(),
                                   .df_TF = df.view(),
                                   .dp_T = dp.view()},
                                  *stream),
              IsOk());
  ASSERT_THAT(ExpertLinearSquaredRelu(x.view(), w.view(), offsets.view(), p.view(), y_too.view(),
                                      a_too.view(), *stream),
              IsOk());
  ASSERT_THAT(ExpertLinearSquaredReluBackward(dy.view(), w.view(), offsets.view(), f.view(),
                                              p.view(), df_too.view(), dp_too.view(), {}, *stream),
              IsOk());
  EXPECT_EQ(y_too.values(), y.values());
  EXPECT_EQ(a_too.values(), a.values());
  EXPECT_EQ(df_too.values(), df.values());
  EXPECT_EQ(dp_too.values(), dp.values());
}

TEST_P(ExpertGemmTest, ASquaredReluBehindAProductIsTheOperations) {
  ExpectSquaredRelu<float>(GetParam());
  ExpectSquaredRelu<double>(GetParam());
}

TEST_P(ExpertGemmTest, EqualsTheLoopOverExperts) {
  ExpectProducts<float>(GetParam());
  ExpectProducts<double>(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Shapes, ExpertGemmTest,
                         ::testing::Values(Case{{3, 0, 5, 1}, 7, 11}, Case{{0, 0}, 4, 3},
                                           Case{{0, 9, 0}, 5, 16}, Case{{20, 31}, 96, 128}));

TEST(ExpertGemmTest, NamesTheOperandThatDoesNotFit) {
  StreamWithWorkspace stream;
  HostTensor<float> x({4, 8}), w({2, 3, 7}), y({4, 3});
  HostTensor<int32_t> offsets({3}, {0, 2, 4});
  EXPECT_THAT(
      ExpertLinearForward(x.view(), w.view(), offsets.view(), y.view(), *stream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x_RK is f32[4,8]; expected [*,7]")));
}

TEST(ExpertGemmTest, ShapeOnlyRecordsTheProduct) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  Arena arena = Arena::Counting(MemoryLabel::kActivations);
  ASSERT_THAT(ExpertLinearForward(arena.Allocate(DType::kF32, {768, 128}).value(),
                                  arena.Allocate(DType::kF32, {8, 96, 128}).value(),
                                  arena.Allocate(DType::kI32, {9}).value(),
                                  arena.Allocate(DType::kF32, {768, 96}).value(), *stream),
              IsOk());
  EXPECT_EQ(stream->ledger().total_flops(), 2.0 * 768 * 128 * 96);
}

}  // namespace
}  // namespace hetero
