#include "hetero/tensor/ops/audio/audio.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/audio_batch.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

static_assert(AudioRows(0) == 0 && AudioRows(1) == 1 && AudioRows(2) == 1 && AudioRows(3) == 2);
static_assert(AudioRows(3000) == 1500 && ConvolvedRows(5, 1) == 5);

// Clips of C channels into N.
template <typename T>
struct Problem {
  static constexpr int64_t kC = 5, kN = 7;

  Problem(std::vector<int32_t> lengths_, int64_t stride_, std::mt19937_64 random = FreshGenerator())
      : lengths(std::move(lengths_)),
        stride(stride_),
        x(HostTensor<T>::Normal({std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), kC},
                                random)),
        weight(HostTensor<T>::Normal({kN, 3 * kC}, random)) {
    for (const int32_t length : lengths) rows += ConvolvedRows(length, stride);
    dy = HostTensor<T>::Normal({rows, kN}, random);
  }

  TimeConvShape shape() const { return {.lengths = lengths, .stride = stride}; }

  std::vector<T> Forward() {
    HostTensor<T> y({rows, kN});
    EXPECT_THAT(TimeConvForward(shape(), x.view(), weight.view(), y.view(), *stream), IsOk());
    return y.values();
  }

  // Every clip by itself, tap after tap.
  std::vector<double> Naive() const {
    std::vector<double> y;
    int64_t first = 0;
    for (const int64_t length : lengths) {
      for (int64_t middle = 0; middle < length; middle += stride) {
        for (int64_t n = 0; n < kN; ++n) {
          double sum = 0;
          for (int64_t k = 0; k < 3; ++k) {
            const int64_t t = middle + k - 1;
            if (t < 0 || t >= length) continue;
            for (int64_t c = 0; c < kC; ++c) {
              sum += double{weight[n * 3 * kC + k * kC + c]} * x[(first + t) * kC + c];
            }
          }
          y.push_back(sum);
        }
      }
      first += length;
    }
    return y;
  }

  struct Gradients {
    HostTensor<T> x, weight;
  };
  Gradients Backward(bool accumulate = false, T initial = T(0)) {
    Gradients g{HostTensor<T>({x.view().dim(0), kC}), HostTensor<T>({kN, 3 * kC})};
    if (accumulate) g.weight.values().assign(g.weight.values().size(), initial);
    EXPECT_THAT(TimeConvBackward(shape(),
                                 {.dy_RN = dy.view(),
                                  .x_TC = x.view(),
                                  .weight_NK = weight.view(),
                                  .d_x_TC = g.x.view(),
                                  .d_weight_NK = g.weight.view(),
                                  .accumulate = accumulate},
                                 *stream),
                IsOk());
    return g;
  }

  std::vector<int32_t> lengths;
  int64_t stride;
  int64_t rows = 0;
  HostTensor<T> x, weight, dy{0, kN};
  StreamWithWorkspace stream;
};

class TimeConvTest : public ::testing::TestWithParam<std::tuple<std::vector<int32_t>, int64_t>> {};

TEST_P(TimeConvTest, ForwardIsTheNaiveSum) {
  const auto& [lengths, stride] = GetParam();
  Problem<double> d(lengths, stride);
  EXPECT_THAT(d.Forward(), IsCloseTo(d.Naive(), {.relative_to_max = 16 * Epsilon<double>()}));
  Problem<float> f(lengths, stride);
  EXPECT_THAT(f.Forward(), IsCloseTo(f.Naive(), {.relative_to_max = 16 * Epsilon<float>()}));
}

TEST_P(TimeConvTest, GradientsAreFiniteDifferences) {
  const auto& [lengths, stride] = GetParam();
  Problem<double> p(lengths, stride);
  auto [d_x, d_weight] = p.Backward();
  const auto check = [&](HostTensor<double>& input, const HostTensor<double>& gradient) {
    constexpr double kStep = 0.5;  // the operation is linear in each of its inputs
    std::vector<double> expected;
    for (double& value : input.values()) {
      const double at = value;
      const auto objective = [&] {
        const std::vector<double> y = p.Forward();
        return std::inner_product(y.begin(), y.end(), p.dy.values().begin(), 0.0);
      };
      value = at + kStep;
      const double above = objective();
      value = at - kStep;
      expected.push_back((above - objective()) / (2 * kStep));
      value = at;
    }
    EXPECT_THAT(gradient.values(), IsCloseTo(expected, {.absolute = 1e-11}));
  };
  check(p.x, d_x);
  check(p.weight, d_weight);
}

TEST_P(TimeConvTest, AClipDoesNotSeeItsNeighbours) {
  const auto& [lengths, stride] = GetParam();
  Problem<double> pack(lengths, stride);
  const std::vector<double> together = pack.Forward(), gradient = pack.Backward().x.values();
  const ErrorSpec spec{.relative_to_max = 4 * Epsilon<double>()};
  int64_t first = 0, row = 0;
  for (const int32_t length : lengths) {
    const int64_t rows = ConvolvedRows(length, stride);
    Problem<double> alone({length}, stride);
    alone.weight = pack.weight;
    std::copy_n(pack.x.values().begin() + first * 5, length * 5, alone.x.values().begin());
    std::copy_n(pack.dy.values().begin() + row * 7, rows * 7, alone.dy.values().begin());
    EXPECT_THAT(alone.Forward(), IsCloseTo(std::span(together).subspan(row * 7, rows * 7), spec));
    EXPECT_THAT(alone.Backward().x.values(),
                IsCloseTo(std::span(gradient).subspan(first * 5, length * 5), spec));
    first += length;
    row += rows;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Clips, TimeConvTest,
    ::testing::Combine(::testing::Values(std::vector<int32_t>{}, std::vector<int32_t>{1},
                                         std::vector<int32_t>{2}, std::vector<int32_t>{3, 1, 2, 6},
                                         std::vector<int32_t>{4, 5}),
                       ::testing::Values(1, 2)));

TEST(TimeConvBackwardTest, WeightGradientsAccumulateAndRepeatBitwise) {
  Problem<float> p({4, 7, 1}, 2);
  const std::vector<float> once = p.Backward().weight.values();
  const std::vector<float> added = p.Backward(/*accumulate=*/true, 2.0f).weight.values();
  for (size_t i = 0; i < once.size(); ++i) EXPECT_FLOAT_EQ(added[i], 2.0f + once[i]);
  EXPECT_EQ(p.Backward().weight.values(), once);
}

TEST(TimeConvBackwardTest, WhatIsNotWantedCostsNothing) {
  Problem<float> p({4, 7, 1}, 1);
  HostTensor<float> d_weight({7, 15});
  ASSERT_THAT(TimeConvBackward(p.shape(),
                               {.dy_RN = p.dy.view(),
                                .x_TC = p.x.view(),
                                .weight_NK = p.weight.view(),
                                .d_weight_NK = d_weight.view()},
                               *p.stream),
              IsOk());
  EXPECT_EQ(d_weight.values(), p.Backward().weight.values());
  Problem<float> forward({4, 7, 1}, 1), backward({4, 7, 1}, 1);
  forward.Forward();
  ASSERT_THAT(TimeConvBackward(backward.shape(),
                               {.dy_RN = backward.dy.view(),
                                .x_TC = backward.x.view(),
                                .weight_NK = backward.weight.view(),
                                .d_weight_NK = d_weight.view()},
                               *backward.stream),
              IsOk());
  EXPECT_EQ(backward.stream->ledger().total_flops(), forward.stream->ledger().total_flops());
}

TEST(TimeConvForwardTest, NamesWhatDoesNotFit) {
  Problem<float> p({4, 3}, 2);
  HostTensor<float> y({4, 7});
  const auto forward = [&](TimeConvShape shape) {
    return TimeConvForward(shape, p.x.view(), p.weight.view(), y.view(), *p.stream);
  };
  const std::vector<int32_t> no_rows = {4, 3, 0}, too_many = {4, 4};
  EXPECT_THAT(forward({no_rows, 2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("clip 2 has 0 rows")));
  EXPECT_THAT(forward({too_many, 2}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("x_TC is f32[7,5]"), HasSubstr("[8,*]"))));
  EXPECT_THAT(forward({p.lengths, 3}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stride is 3")));
  EXPECT_THAT(forward({p.lengths, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("y_RN is f32[4,7]")));
}

std::vector<double> Sinusoids(std::span<const int32_t> lengths, int64_t channels) {
  const int64_t half = channels / 2;
  std::vector<double> values;
  for (const int32_t length : lengths) {
    for (int32_t t = 0; t < length; ++t) {
      for (int64_t c = 0; c < channels; ++c) {
        const double order = static_cast<double>(c % half) / static_cast<double>(half - 1);
        const double angle = t * std::pow(10000.0, -order);
        values.push_back(c < half ? std::sin(angle) : std::cos(angle));
      }
    }
  }
  return values;
}

template <typename T>
void ExpectSinusoids(const std::vector<int32_t>& lengths, int64_t channels) {
  std::mt19937_64 random = FreshGenerator();
  StreamWithWorkspace stream;
  const int64_t rows = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  auto x = HostTensor<T>::Normal({rows, channels}, random);
  std::vector<double> expected = Sinusoids(lengths, channels);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += x.values()[i];
  HostTensor<T> out({rows, channels});
  ASSERT_THAT(AddSinusoids(lengths, x.view(), out.view(), *stream), IsOk());
  EXPECT_THAT(out.values(), IsCloseTo(expected, {.absolute = 2048 * Epsilon<double>() +
                                                             (sizeof(T) == 4 ? 4e-7 : 0),
                                                 .relative = Epsilon<T>()}));
  ASSERT_THAT(AddSinusoids(lengths, x.view(), x.view(), *stream), IsOk());
  EXPECT_EQ(x.values(), out.values());
}

TEST(AddSinusoidsTest, EveryClipStartsAtZeroAndLongOnesStayExact) {
  for (const int64_t channels : {4, 10, 64}) {
    ExpectSinusoids<double>({3, 1, 2049}, channels);
    ExpectSinusoids<float>({3, 1, 2049}, channels);
    ExpectSinusoids<float>({}, channels);
  }
}

TEST(AddSinusoidsTest, NamesWidthsWithoutFrequencies) {
  StreamWithWorkspace stream;
  const std::vector<int32_t> lengths = {2};
  for (const int64_t channels : {2, 7}) {
    HostTensor<float> x({2, channels});
    EXPECT_THAT(AddSinusoids(lengths, x.view(), x.view(), *stream),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("even number")));
  }
}

TEST(AudioOperationsTest, TheShapeOnlyDeviceCountsWhatTheCpuTakes) {
  Problem<float> real({4, 7, 1}, 2);
  real.Forward();
  const int64_t bytes = real.stream->workspace().peak_bytes();
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  Arena arena = Arena::Counting(MemoryLabel::kActivations);
  const auto allocate = [&](int64_t rows, int64_t columns) {
    return arena.Allocate(DType::kF32, {rows, columns}).value();
  };
  ASSERT_THAT(
      TimeConvForward(real.shape(), allocate(12, 5), allocate(7, 15), allocate(7, 7), *stream),
      IsOk());
  EXPECT_EQ(stream->workspace().peak_bytes(), bytes);
  EXPECT_EQ(stream->ledger().total_flops(), real.stream->ledger().total_flops());
  EXPECT_EQ(stream->ledger().total_flops(), 6 * 5 * 7 * 7);
}

}  // namespace
}  // namespace hetero
