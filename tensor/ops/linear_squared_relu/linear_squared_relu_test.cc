#include "hetero/tensor/ops/linear_squared_relu/linear_squared_relu.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <tuple>

#include "absl/status/status.h"
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
using ::testing::HasSubstr;

class LinearSquaredReluTest
    : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {};

TEST_P(LinearSquaredReluTest, IsTheProductAndItsActivation) {
  const auto [t, k, n] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  StreamWithWorkspace stream;
  const auto x = HostTensor<double>::Normal({t, k}, generator);
  const auto w = HostTensor<double>::Normal({n, k}, generator);
  const auto dy = HostTensor<double>::Normal({t, n}, generator);
  HostTensor<double> y({t, n}), a({t, n}), df({t, k});
  ASSERT_THAT(LinearSquaredRelu(x.view(), w.view(), y.view(), a.view(), *stream), IsOk());
  ASSERT_THAT(LinearSquaredReluBackward(dy.view(), w.view(), x.view(), df.view(), *stream), IsOk());

  HostTensor<double> y_wanted({t, n}), a_wanted({t, n}), df_wanted({t, k});
  for (int64_t i = 0; i < t; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) sum += x[i * k + l] * w[j * k + l];
      y_wanted[i * n + j] = sum;
      a_wanted[i * n + j] = std::pow(std::max(sum, 0.0), 2);
    }
    for (int64_t l = 0; l < k; ++l) {
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) sum += dy[i * n + j] * w[j * k + l];
      df_wanted[i * k + l] = 2 * std::max(x[i * k + l], 0.0) * sum;
    }
  }
  const ErrorSpec tolerance = {.absolute = 1e-12, .relative = 1e-12};
  EXPECT_THAT(y.values(), IsCloseTo(y_wanted.values(), tolerance));
  EXPECT_THAT(a.values(), IsCloseTo(a_wanted.values(), tolerance));
  EXPECT_THAT(df.values(), IsCloseTo(df_wanted.values(), tolerance));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearSquaredReluTest,
                         ::testing::Values(std::tuple{0, 3, 4}, std::tuple{1, 1, 1},
                                           std::tuple{7, 11, 5}, std::tuple{33, 24, 40}));

TEST(LinearSquaredReluTest, NamesTheOperandThatDoesNotFit) {
  StreamWithWorkspace stream;
  HostTensor<float> x({2, 3}), w({4, 3}), y({2, 4}), a({2, 5});
  EXPECT_THAT(LinearSquaredRelu(x.view(), w.view(), y.view(), a.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a_TN is f32[2,5]")));
  EXPECT_THAT(LinearSquaredReluBackward(y.view(), w.view(), y.view(), x.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f_TK is f32[2,4]")));
}

}  // namespace
}  // namespace hetero
