#include "hetero/tensor/ops/gemm/gemm.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

double At(const HostTensor<double>& x, int64_t columns, bool transposed, int64_t i, int64_t j) {
  return transposed ? x[j * columns + i] : x[i * columns + j];
}

struct Sides {
  int64_t m, n, k;
};

class GemmTest : public ::testing::TestWithParam<std::tuple<Sides, bool, bool, double>> {};

template <typename T>
void ExpectProduct(const Sides& sides, bool transpose_a, bool transpose_b, double beta) {
  const auto [m, n, k] = sides;
  constexpr int64_t kGap = 3;
  std::mt19937_64 generator = FreshGenerator();
  const int64_t rows_a = transpose_a ? k : m, columns_a = (transpose_a ? m : k) + kGap;
  const int64_t rows_b = transpose_b ? n : k, columns_b = (transpose_b ? k : n) + kGap;
  const auto a = HostTensor<T>::Normal({rows_a, columns_a}, generator);
  const auto b = HostTensor<T>::Normal({rows_b, columns_b}, generator);
  auto c = HostTensor<T>::Normal({m, n + kGap}, generator);
  const auto c_before = c.template As<double>();
  if (beta == 0) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) c[i * (n + kGap) + j] = std::nan("");
    }
  }
  const auto a64 = a.template As<double>();
  const auto b64 = b.template As<double>();
  auto expected = c_before;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += At(a64, columns_a, transpose_a, i, l) * At(b64, columns_b, transpose_b, l, j);
      }
      double& element = expected[i * (n + kGap) + j];
      element = 0.5 * sum + beta * element;
    }
  }
  StreamWithWorkspace stream;
  ASSERT_THAT(Gemm({.a = a.view().Columns(0, columns_a - kGap),
                    .b = b.view().Columns(0, columns_b - kGap),
                    .c = c.view().Columns(0, n),
                    .transpose_a = transpose_a,
                    .transpose_b = transpose_b,
                    .alpha = 0.5,
                    .beta = beta},
                   *stream),
              IsOk());
  // Roundings of k partial sums of size sqrt(k) and less walk k epsilons / 7 far as a rule; of a
  // million sums some have partial sums four times as large as the rule and a walk five times as
  // long for that. Of this alpha takes half.
  EXPECT_THAT(c.values(), IsCloseTo(expected.values(),
                                    {.absolute = (4 + 1.5 * static_cast<double>(k)) * Epsilon<T>(),
                                     .relative = 8 * Epsilon<T>()}));
  EXPECT_EQ(stream->ledger().total_flops(), 2.0 * m * n * k);
}

TEST_P(GemmTest, EqualsTheLoopAndKeepsTheGaps) {
  const auto [sides, transpose_a, transpose_b, beta] = GetParam();
  ExpectProduct<float>(sides, transpose_a, transpose_b, beta);
  ExpectProduct<double>(sides, transpose_a, transpose_b, beta);
}

INSTANTIATE_TEST_SUITE_P(Sides, GemmTest,
                         ::testing::Combine(::testing::Values(Sides{1, 1, 1}, Sides{5, 7, 3},
                                                              Sides{48, 48, 32}, Sides{33, 1, 65},
                                                              Sides{97, 130, 71}, Sides{0, 4, 3},
                                                              Sides{4, 0, 3}, Sides{4, 3, 0}),
                                            ::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values(0.0, 1.0, -0.5)));

// c = alpha a b + bias + beta added, with c untouched by what it held, or c itself added.
template <typename T>
void ExpectSum(double beta, bool has_bias, bool in_place) {
  constexpr int64_t kM = 9, kN = 21, kK = 5, kGap = 2;
  std::mt19937_64 generator = FreshGenerator();
  const auto a = HostTensor<T>::Normal({kM, kK}, generator);
  const auto b = HostTensor<T>::Normal({kK, kN}, generator);
  const auto bias = HostTensor<T>::Normal({kN}, generator);
  const auto added = HostTensor<T>::Normal({kM, kN + kGap}, generator);
  auto c = HostTensor<T>::Normal({kM, kN + (in_place ? kGap : 1)}, generator);
  const int64_t columns = c.view().dim(1);
  for (int64_t i = 0; i < kM; ++i) {
    for (int64_t j = 0; j < kN; ++j) {
      c[i * columns + j] = in_place ? added[i * columns + j] : static_cast<T>(std::nan(""));
    }
  }
  std::vector<double> expected = c.template As<double>().values();
  for (int64_t i = 0; i < kM; ++i) {
    for (int64_t j = 0; j < kN; ++j) {
      double sum = (has_bias ? bias[j] : 0) + beta * added[i * (kN + kGap) + j];
      for (int64_t l = 0; l < kK; ++l) sum += double{a[i * kK + l]} * double{b[l * kN + j]};
      expected[i * columns + j] = sum;
    }
  }
  StreamWithWorkspace stream;
  const TensorView out = c.view().Columns(0, kN);
  ASSERT_THAT(Gemm({.a = a.view(),
                    .b = b.view(),
                    .c = out,
                    .bias = has_bias ? ConstTensorView(bias.view()) : ConstTensorView(),
                    .added = in_place ? ConstTensorView(out) : added.view().Columns(0, kN),
                    .beta = beta},
                   *stream),
              IsOk());
  EXPECT_THAT(c.values(),
              IsCloseTo(expected, {.absolute = 32 * Epsilon<T>(), .relative = 8 * Epsilon<T>()}));
}

TEST(GemmSumTest, AddsABiasAndAnotherMatrix) {
  for (const double beta : {0.0, 1.0, -0.5}) {
    for (const bool has_bias : {false, true}) {
      for (const bool in_place : {false, true}) {
        if (in_place && beta == 0) continue;
        ExpectSum<float>(beta, has_bias, in_place);
        ExpectSum<double>(beta, has_bias, in_place);
      }
    }
  }
}

TEST(GemmErrorsTest, NameTheOperand) {
  HostTensor<float> a({2, 3}), b({4, 5}), c({2, 5});
  HostTensor<double> b64({3, 5});
  StreamWithWorkspace stream;
  EXPECT_THAT(Gemm({.a = a.view(), .b = b.view(), .c = c.view()}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("b is f32[4,5]"), HasSubstr("expected [3,5]"))));
  EXPECT_THAT(Gemm({.a = a.view(), .b = b64.view(), .c = c.view()}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("b is f64[3,5]")));
  HostTensor<float> b35({3, 5});
  EXPECT_THAT(
      Gemm({.a = a.view(), .b = b35.view(), .c = c.view(), .added = b.view(), .beta = 1}, *stream),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("added is f32[4,5]"), HasSubstr("expected [2,5]"))));
}

// With L = Σ y∘dy, the three backward products are the derivatives of the forward one.
TEST(LinearTest, BackwardIsTheDerivativeOfForward) {
  constexpr int64_t kT = 5, kN = 4, kK = 3;
  std::mt19937_64 generator = FreshGenerator();
  auto x = HostTensor<double>::Normal({kT, kK}, generator);
  auto w = HostTensor<double>::Normal({kN, kK}, generator);
  auto bias = HostTensor<double>::Normal({kN}, generator);
  const auto dy = HostTensor<double>::Normal({kT, kN}, generator);
  StreamWithWorkspace stream;
  const auto loss = [&] {
    HostTensor<double> y({kT, kN});
    EXPECT_THAT(LinearForward(x.view(), w.view(), bias.view(), y.view(), *stream), IsOk());
    double sum = 0;
    for (int64_t i = 0; i < kT * kN; ++i) sum += y[i] * dy[i];
    return sum;
  };
  const auto numeric = [&](HostTensor<double>& parameter) {
    std::vector<double> gradient;
    for (double& value : parameter.values()) {
      const double kept = value;
      value = kept + 1e-3;
      const double above = loss();
      value = kept - 1e-3;
      gradient.push_back((above - loss()) / 2e-3);
      value = kept;
    }
    return gradient;
  };
  HostTensor<double> dx({kT, kK}), dw({kN, kK}), dbias({kN});
  for (const bool accumulate : {false, true}) {
    ASSERT_THAT(LinearBackwardInput(dy.view(), w.view(), dx.view(), accumulate, *stream), IsOk());
    ASSERT_THAT(LinearBackwardWeight(dy.view(), x.view(), dw.view(), accumulate, *stream), IsOk());
    ASSERT_THAT(BiasBackward(dy.view(), dbias.view(), accumulate, *stream), IsOk());
  }
  const auto twice = [](std::vector<double> values) {
    for (double& value : values) value *= 2;
    return values;
  };
  EXPECT_THAT(dx.values(), IsCloseTo(twice(numeric(x)), {.absolute = 1e-10}));
  EXPECT_THAT(dw.values(), IsCloseTo(twice(numeric(w)), {.absolute = 1e-10}));
  EXPECT_THAT(dbias.values(), IsCloseTo(twice(numeric(bias)), {.absolute = 1e-10}));
}

TEST(LinearTest, NoRowsLeaveGradientsZeroOrUntouched) {
  HostTensor<float> x({0, 3}), y({0, 300}), w({300, 3}), bias({300}), dw({300, 3}), dbias({300});
  StreamWithWorkspace stream;
  ASSERT_THAT(LinearForward(x.view(), w.view(), bias.view(), y.view(), *stream), IsOk());
  for (const bool accumulate : {false, true}) {
    ASSERT_THAT(LinearBackwardWeight(y.view(), x.view(), dw.view(), accumulate, *stream), IsOk());
    ASSERT_THAT(BiasBackward(y.view(), dbias.view(), accumulate, *stream), IsOk());
    EXPECT_THAT(dw.values(), ::testing::Each(0.0f));
    EXPECT_THAT(dbias.values(), ::testing::Each(0.0f));
  }
}

TEST(LinearTest, ShapeOnlyStreamRecordsCostAndTouchesNothing) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const auto nowhere = [](std::initializer_list<int64_t> dims) {
    return TensorView(reinterpret_cast<void*>(kShapeOnlyAddress), DType::kF32, dims);
  };
  EXPECT_THAT(LinearForward(nowhere({384, 128}), nowhere({512, 128}), nowhere({512}),
                            nowhere({384, 512}), *stream),
              IsOk());
  EXPECT_THAT(BiasBackward(nowhere({384, 512}), nowhere({512}), true, *stream), IsOk());
  EXPECT_EQ(stream->ledger().total_flops(), 2.0 * 384 * 512 * 128 + 384 * 512);
}

// The dry run of a GPU takes the scratch that the GPU takes, that of the CPU takes none.
TEST(GemmScratchTest, TheDryRunPredictsIt) {
  const TensorView x(reinterpret_cast<void*>(kShapeOnlyAddress), DType::kBF16, {8, 8});
  for (const DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kCuda}) {
    StreamWithWorkspace dry(Device{.kind = DeviceKind::kShapeOnly, .predicts = kind});
    ASSERT_THAT(Gemm({.a = x, .b = x, .c = x}, *dry), IsOk());
    EXPECT_EQ(dry->workspace().peak_bytes(), kind == DeviceKind::kCuda ? int64_t{32} << 20 : 0);
  }
}

// Every rank computes on a thread of its own, and its buffers lie anywhere.
TEST(GemmRepeatTest, IsBitwiseEqualOnEveryThreadAndAtEveryAddress) {
  constexpr int64_t kM = 96, kN = 130, kK = 200;
  std::mt19937_64 generator = FreshGenerator();
  const auto a = HostTensor<float>::Normal({kM, kK}, generator);
  const auto b = HostTensor<float>::Normal({kK, kN}, generator);
  const auto product = [&](int64_t offset) {
    HostTensor<float> room({kM * kK + offset}), c({kM, kN});
    const TensorView moved(room.view().data<float>() + offset, DType::kF32, {kM, kK});
    std::copy_n(a.view().data<float>(), kM * kK, moved.data<float>());
    StreamWithWorkspace stream;
    EXPECT_THAT(Gemm({.a = moved, .b = b.view(), .c = c.view()}, *stream), IsOk());
    return c.values();
  };
  const auto expected = product(0);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 4; ++rank) {
    ranks.emplace_back([&, rank] {
      for (int64_t offset = rank; offset < 32; offset += 4) EXPECT_EQ(product(offset), expected);
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

}  // namespace
}  // namespace hetero
