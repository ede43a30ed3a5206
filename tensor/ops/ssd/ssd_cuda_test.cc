#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/ssd/ssd.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::Each;

struct Extents {
  SsdShape shape;
  int64_t rows, row_length, gap;
  bool packed;  // sequences of a few tokens, and of many, inside the rows
  SsdStepLimits steps = {};

  friend void PrintTo(const Extents& e, std::ostream* out) {
    const SsdShape& s = e.shape;
    *out << e.rows << "x" << e.row_length << "h" << s.num_heads << "x" << s.head_dim << "g"
         << s.num_groups << "n" << s.state_size << "q" << s.chunk_length << "+" << e.gap
         << (e.packed ? "packed" : "") << (e.steps.limit() ? "limited" : "");
  }
};

// x, B and C are column slices of one matrix [T, gap + I + 2 S], as after the convolution. Both
// sizes of tiles, filled and not; with and without accesses of whole vectors; partial last chunks,
// one chunk, one token. Everywhere so many elements that some have the size of their terms.
constexpr Extents kExtents[] = {{{1, 1, 1, 1, 2}, 40, 3, 0, false},
                                {{8, 32, 2, 16, 16}, 8, 48, 0, false},
                                {{4, 8, 2, 4, 16}, 2, 20, 3, true},
                                {{3, 5, 1, 3, 4}, 1, 70, 3, false},
                                {{6, 17, 3, 19, 33}, 2, 100, 1, true},
                                {{2, 64, 1, 128, 128}, 1, 300, 0, true},
                                {{8, 64, 2, 128, 128}, 2, 256, 8, false},
                                {{4, 64, 2, 128, 64}, 1, 200, 0, true},
                                {{9, 48, 3, 96, 100}, 3, 130, 0, false},
                                {{4, 16, 4, 16, 128}, 1, 128, 8, true},
                                {{2, 64, 2, 128, 128}, 3, 1, 0, false},
                                {{4, 8, 2, 4, 16}, 2, 20, 3, true, {0.1, 2.5}},
                                {{4, 64, 2, 128, 64}, 1, 200, 0, true, {0.1}},
                                {{6, 64, 2, 128, 128}, 2, 424, 8, true},
                                {{3, 64, 1, 128, 128}, 1, 640, 0, false}};

class SsdCudaTest : public ::testing::TestWithParam<std::tuple<DType, Extents>> {};

// Columns [begin, begin + count) of a matrix with `width` columns.
std::vector<double> Slice(const std::vector<double>& values, int64_t width, int64_t begin,
                          int64_t count) {
  std::vector<double> slice;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t column = static_cast<int64_t>(i) % width - begin;
    if (column >= 0 && column < count) slice.push_back(values[i]);
  }
  return slice;
}

// The largest norm of a column.
double ColumnNorm(const std::vector<double>& values, int64_t width) {
  std::vector<double> squares(width);
  for (size_t i = 0; i < values.size(); ++i) squares[i % width] += values[i] * values[i];
  return std::sqrt(*std::max_element(squares.begin(), squares.end()));
}

// What both sides are given, exact in the tested type.
struct Operands {
  Operands(DType dtype, const Extents& e, std::mt19937_64& generator)
      : extents(e),
        xbc(NormalFor(dtype, {tokens(), wide()}, generator)),
        dt_raw(NormalFor(dtype, {tokens(), heads() + e.gap}, generator)),
        dt_bias(NormalFor(dtype, {heads()}, generator)),
        a_log(NormalFor(dtype, {heads()}, generator)),
        skip(NormalFor(dtype, {heads()}, generator)),
        d_y(NormalFor(dtype, {tokens(), inner() + e.gap}, generator)),
        index({tokens()}) {
    for (int64_t t = 0; t < tokens(); ++t) {
      const bool starts = t % e.row_length == 0 || generator() % (t % 64 < 32 ? 6 : 90) == 0;
      index[t] = t == 0 ? 0 : index[t - 1] + (starts ? 1 : 0);
    }
    // The sides agree on which steps are limited, however they round.
    for (int64_t i = 0; i < tokens() * (heads() + e.gap); ++i) {
      const int64_t h = i % (heads() + e.gap) - e.gap;
      if (h < 0 || !e.steps.limit()) continue;
      const auto near = [&] {
        const double step = std::log1p(std::exp(dt_raw[i] + dt_bias[h]));
        return std::abs(step - e.steps.min) < 1e-3 || std::abs(step - e.steps.max) < 1e-3;
      };
      while (near()) dt_raw[i] = dt_raw[i] < 0 ? 1 : -1;
    }
    // Decay rates A from 1 to 16.
    for (double& value : a_log.values()) value = std::abs(value) < 2.75 ? std::abs(value) : 0.5;
  }

  int64_t tokens() const { return extents.rows * extents.row_length; }
  int64_t heads() const { return extents.shape.num_heads; }
  int64_t inner() const { return heads() * extents.shape.head_dim; }
  int64_t group_width() const { return extents.shape.num_groups * extents.shape.state_size; }
  int64_t wide() const { return extents.gap + inner() + 2 * group_width(); }

  template <typename View>
  View X(const View& view) const {
    return view.Columns(extents.gap, inner());
  }
  template <typename View>
  View B(const View& view) const {
    return view.Columns(extents.gap + inner(), group_width());
  }
  template <typename View>
  View C(const View& view) const {
    return view.Columns(extents.gap + inner() + group_width(), group_width());
  }

  const Extents extents;
  HostTensor<double> xbc, dt_raw, dt_bias, a_log, skip, d_y;
  HostTensor<int32_t> index;
};

// Results of one side; Tensor is HostTensor<double> or DeviceTensor.
template <typename Tensor>
struct Results {
  Tensor y, d_xbc, d_dt_raw, d_dt_bias, d_a_log, d_skip;
};

// Runs forward and backward on one side's operands.
template <typename Tensor, typename IndexTensor>
void RunForwardAndBackward(const Operands& o, const Tensor& xbc, const Tensor& dt_raw,
                           const Tensor& dt_bias, const Tensor& a_log, const Tensor& skip,
                           const Tensor& d_y, const IndexTensor& index, TensorView states,
                           bool accumulate, Results<Tensor>& results, Stream& stream) {
  SsdInputs inputs{.shape = o.extents.shape,
                   .steps = o.extents.steps,
                   .sequences = {.num_rows = o.extents.rows, .row_length = o.extents.row_length},
                   .x_TI = o.X(ConstTensorView(xbc.view())),
                   .b_TS = o.B(ConstTensorView(xbc.view())),
                   .c_TS = o.C(ConstTensorView(xbc.view())),
                   .dt_raw_TH = ConstTensorView(dt_raw.view()).Columns(o.extents.gap, o.heads()),
                   .dt_bias_H = dt_bias.view(),
                   .a_log_H = a_log.view(),
                   .skip_H = skip.view()};
  if (o.extents.packed) inputs.sequences.sequence_index = index.view();
  const TensorView y = results.y.view().Columns(o.extents.gap, o.inner());
  ASSERT_THAT(SsdForward(inputs, y, states, stream), IsOk());
  ASSERT_THAT(
      SsdBackward(inputs, states, ConstTensorView(d_y.view()).Columns(o.extents.gap, o.inner()),
                  {.d_x_TI = o.X(results.d_xbc.view()),
                   .d_b_TS = o.B(results.d_xbc.view()),
                   .d_c_TS = o.C(results.d_xbc.view()),
                   .d_dt_raw_TH = results.d_dt_raw.view().Columns(o.extents.gap, o.heads()),
                   .d_dt_bias_H = results.d_dt_bias.view(),
                   .d_a_log_H = results.d_a_log.view(),
                   .d_skip_H = results.d_skip.view(),
                   .accumulate = accumulate},
                  stream),
      IsOk());
  // What a caller may leave out changes nothing else.
  ASSERT_THAT(SsdForward(inputs, y, {}, stream), IsOk());
  ASSERT_THAT(
      SsdBackward(inputs, states, ConstTensorView(d_y.view()).Columns(o.extents.gap, o.inner()),
                  {.d_x_TI = o.X(results.d_xbc.view()),
                   .d_b_TS = o.B(results.d_xbc.view()),
                   .d_c_TS = o.C(results.d_xbc.view()),
                   .d_dt_raw_TH = results.d_dt_raw.view().Columns(o.extents.gap, o.heads())},
                  stream),
      IsOk());
}

// Of results without and with a sum over all tokens. In f32 a term of a sum goes through a dozen
// roundings; running sums over the up to 128 tokens of a chunk add at most 64 epsilons of the
// largest. In bf16 each of the three operands of the products that lie between an input and a
// result is rounded by at most half an epsilon, which over a sum of random signs leaves an error
// whose spread is a sixth of an epsilon of the sum's; gradients of dt sum such errors again,
// weighted by A, over a chunk. One rounding to the storage type is part of it.
struct Tolerances {
  explicit Tolerances(DType dtype)
      : epsilon(Epsilon(dtype)),
        y{.relative_to_max = (dtype == DType::kBF16 ? 2 : 32) * epsilon},
        gradient{.relative_to_max = (dtype == DType::kBF16 ? 2 : 128) * epsilon},
        d_dt{.relative_to_max = (dtype == DType::kBF16 ? 4 : 128) * epsilon} {}

  // Of a sum over terms of random sign: `norm` is their root of squares, and so its size. The
  // roundings of bf16 are as random, and an epsilon is six of their spreads; those of f32 are the
  // running sums' and alike over a chunk.
  ErrorSpec Parameter(double norm) const {
    const double bound = epsilon < 1e-4 ? d_dt.relative_to_max : epsilon;
    return {.absolute = bound * norm, .relative_to_max = bound};
  }

  double epsilon;
  ErrorSpec y, gradient, d_dt;
};

TEST_P(SsdCudaTest, EqualsTheCpuAndItself) {
  const auto [dtype, e] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  const Operands o(dtype, e, generator);
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor xbc(dtype, o.xbc, *gpu), dt_raw(dtype, o.dt_raw, *gpu),
      dt_bias(dtype, o.dt_bias, *gpu), a_log(dtype, o.a_log, *gpu), skip(dtype, o.skip, *gpu),
      d_y(dtype, o.d_y, *gpu), index(DType::kI32, o.index, *gpu);
  const auto cpu_dims = SsdStatesDims(e.shape, o.tokens(), e.row_length, DType::kF64);
  HostTensor<double> cpu_states({cpu_dims[0], cpu_dims[1], cpu_dims[2], cpu_dims[3]});
  const auto dims = SsdStatesDims(e.shape, o.tokens(), e.row_length, dtype);
  const DeviceTensor states(dtype, {dims[0], dims[1], dims[2], dims[3]}, *gpu);
  const auto initial = NormalFor(DType::kF32, {o.heads()}, generator);
  Results<HostTensor<double>> expected{{o.tokens(), e.gap + o.inner()},
                                       {o.tokens(), o.wide()},
                                       {o.tokens(), e.gap + o.heads()},
                                       initial,
                                       initial,
                                       initial};
  const auto device_results = [&] {
    return Results<DeviceTensor>{{dtype, {o.tokens(), e.gap + o.inner()}, *gpu},
                                 {dtype, {o.tokens(), o.wide()}, *gpu},
                                 {dtype, {o.tokens(), e.gap + o.heads()}, *gpu},
                                 {DType::kF32, initial, *gpu},
                                 {DType::kF32, initial, *gpu},
                                 {DType::kF32, initial, *gpu}};
  };
  Results<DeviceTensor> actual = device_results(), again = device_results();
  const Tolerances tolerances(dtype);
  for (const bool accumulate : {true, false}) {
    RunForwardAndBackward(o, o.xbc, o.dt_raw, o.dt_bias, o.a_log, o.skip, o.d_y, o.index,
                          cpu_states.view(), accumulate, expected, *cpu);
    for (Results<DeviceTensor>* results : {&actual, &again}) {
      RunForwardAndBackward(o, xbc, dt_raw, dt_bias, a_log, skip, d_y, index, states.view(),
                            accumulate, *results, *gpu);
    }
    const auto expect_columns = [&](const char* what, const DeviceTensor& device,
                                    const HostTensor<double>& host, int64_t begin, int64_t count,
                                    const ErrorSpec& spec) {
      const int64_t width = host.view().dim(1);
      EXPECT_THAT(Slice(device.Values(), width, begin, count),
                  IsCloseTo(Slice(host.values(), width, begin, count), spec))
          << what;
    };
    const int64_t inner = o.inner(), group_width = o.group_width();
    expect_columns("y", actual.y, expected.y, e.gap, inner, tolerances.y);
    expect_columns("d_x", actual.d_xbc, expected.d_xbc, e.gap, inner, tolerances.gradient);
    expect_columns("d_b", actual.d_xbc, expected.d_xbc, e.gap + inner, group_width,
                   tolerances.gradient);
    expect_columns("d_c", actual.d_xbc, expected.d_xbc, e.gap + inner + group_width, group_width,
                   tolerances.gradient);
    expect_columns("d_dt_raw", actual.d_dt_raw, expected.d_dt_raw, e.gap, o.heads(),
                   tolerances.d_dt);
    for (const DeviceTensor* beside : {&actual.y, &actual.d_xbc, &actual.d_dt_raw}) {
      const std::vector<double> gap = Slice(beside->Values(), beside->view().dim(1), 0, e.gap);
      EXPECT_THAT(gap, Each(::testing::IsNan())) << "written beside the columns";
    }
    const double norm = ColumnNorm(
        Slice(expected.d_dt_raw.values(), e.gap + o.heads(), e.gap, o.heads()), o.heads());
    EXPECT_THAT(actual.d_dt_bias.Values(),
                IsCloseTo(expected.d_dt_bias.values(), tolerances.Parameter(norm)));
    // A token's term is that of d_dt_bias times dt / sigmoid(dt_raw + dt_bias), 1 to 5 here.
    EXPECT_THAT(actual.d_a_log.Values(),
                IsCloseTo(expected.d_a_log.values(), tolerances.Parameter(4 * norm)));
    // Products of operands that are exact.
    const double skip_norm = std::sqrt(static_cast<double>(o.tokens() * e.shape.head_dim));
    EXPECT_THAT(actual.d_skip.Values(),
                IsCloseTo(expected.d_skip.values(), {.absolute = 64 * Epsilon<float>() * skip_norm,
                                                     .relative = 8 * Epsilon<float>()}));
    EXPECT_EQ(actual.y.Bits(), again.y.Bits());
    EXPECT_EQ(actual.d_xbc.Bits(), again.d_xbc.Bits());
    EXPECT_EQ(actual.d_dt_raw.Bits(), again.d_dt_raw.Bits());
    EXPECT_EQ(actual.d_dt_bias.Bits(), again.d_dt_bias.Bits());
    EXPECT_EQ(actual.d_a_log.Bits(), again.d_a_log.Bits());
    EXPECT_EQ(actual.d_skip.Bits(), again.d_skip.Bits());
  }
}

INSTANTIATE_TEST_SUITE_P(Extents, SsdCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
