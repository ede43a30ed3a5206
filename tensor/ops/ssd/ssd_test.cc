#include "hetero/tensor/ops/ssd/ssd.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
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
using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// x, B and C are column slices of one matrix [tokens, kMargin + I + 2S], as after the convolution.
constexpr int64_t kMargin = 3;

template <typename T>
struct Case {
  SsdShape shape;
  int64_t tokens, row_length;
  std::vector<int32_t> seq_idx;  // empty: one sequence a row
  HostTensor<T> xbc, dt_raw, dt_bias, a_log, skip, d_y;
  SsdStepLimits steps = {};

  int64_t inner() const { return shape.num_heads * shape.head_dim; }
  int64_t group_width() const { return shape.num_groups * shape.state_size; }
  int64_t wide() const { return kMargin + inner() + 2 * group_width(); }

  template <typename View>
  View X(View wide_view) const {
    return wide_view.Columns(kMargin, inner());
  }
  template <typename View>
  View B(View wide_view) const {
    return wide_view.Columns(kMargin + inner(), group_width());
  }
  template <typename View>
  View C(View wide_view) const {
    return wide_view.Columns(kMargin + inner() + group_width(), group_width());
  }

  SsdInputs Inputs() {
    SsdInputs inputs{.shape = shape,
                     .steps = steps,
                     .sequences = {.num_rows = tokens / row_length, .row_length = row_length},
                     .x_TI = X(xbc.view()),
                     .b_TS = B(xbc.view()),
                     .c_TS = C(xbc.view()),
                     .dt_raw_TH = dt_raw.view(),
                     .dt_bias_H = dt_bias.view(),
                     .a_log_H = a_log.view(),
                     .skip_H = skip.view()};
    if (!seq_idx.empty()) {
      inputs.sequences.sequence_index = ConstTensorView(seq_idx.data(), DType::kI32, {tokens});
    }
    return inputs;
  }
};

Case<double> RandomCase(const SsdShape& shape, int64_t rows, int64_t row_length) {
  std::mt19937_64 random = FreshGenerator();
  const int64_t tokens = rows * row_length;
  const int64_t inner = shape.num_heads * shape.head_dim;
  const int64_t wide = kMargin + inner + 2 * shape.num_groups * shape.state_size;
  Case<double> c{shape,
                 tokens,
                 row_length,
                 {},
                 HostTensor<double>::Normal({tokens, wide}, random),
                 HostTensor<double>::Normal({tokens, shape.num_heads}, random),
                 HostTensor<double>::Normal({shape.num_heads}, random),
                 HostTensor<double>({shape.num_heads}),
                 HostTensor<double>::Normal({shape.num_heads}, random),
                 HostTensor<double>::Normal({tokens, inner}, random)};
  for (double& a_log : c.a_log.values())
    a_log = std::log(std::uniform_real_distribution(1., 16.)(random));
  return c;
}

Case<float> AsFloat(const Case<double>& c) {
  return {c.shape,
          c.tokens,
          c.row_length,
          c.seq_idx,
          c.xbc.As<float>(),
          c.dt_raw.As<float>(),
          c.dt_bias.As<float>(),
          c.a_log.As<float>(),
          c.skip.As<float>(),
          c.d_y.As<float>(),
          c.steps};
}

template <typename T>
Case<double> AsDouble(const Case<T>& c) {
  return {c.shape,
          c.tokens,
          c.row_length,
          c.seq_idx,
          c.xbc.template As<double>(),
          c.dt_raw.template As<double>(),
          c.dt_bias.template As<double>(),
          c.a_log.template As<double>(),
          c.skip.template As<double>(),
          c.d_y.template As<double>(),
          c.steps};
}

// The recurrence, token by token.
std::vector<double> Sequential(const Case<double>& c) {
  const auto [heads, head_dim, groups, state_size, chunk] = c.shape;
  std::vector<double> y(c.tokens * c.inner());
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t g = h / (heads / groups);
    std::vector<double> state(head_dim * state_size);
    for (int64_t t = 0; t < c.tokens; ++t) {
      const bool starts =
          t % c.row_length == 0 || (!c.seq_idx.empty() && c.seq_idx[t] != c.seq_idx[t - 1]);
      const double step = std::log1p(std::exp(c.dt_raw[t * heads + h] + c.dt_bias[h]));
      const double dt = std::min(std::max(step, c.steps.min), c.steps.max);
      const double decay = starts ? 0 : std::exp(-dt * std::exp(c.a_log[h]));
      const double* row = &c.xbc.values()[t * c.wide() + kMargin];
      const double* b = row + c.inner() + g * state_size;
      for (int64_t p = 0; p < head_dim; ++p) {
        const double x = row[h * head_dim + p];
        double sum = c.skip[h] * x;
        for (int64_t n = 0; n < state_size; ++n) {
          double& s = state[p * state_size + n];
          s = decay * s + dt * x * b[n];
          sum += s * b[c.group_width() + n];
        }
        y[t * c.inner() + h * head_dim + p] = sum;
      }
    }
  }
  return y;
}

template <typename T>
HostTensor<T> NewStates(const Case<T>& c) {
  const auto d = SsdStatesDims(c.shape, c.tokens, c.row_length, kDTypeOf<T>);
  return HostTensor<T>({d[0], d[1], d[2], d[3]});
}

template <typename T>
std::vector<T> Forward(Case<T>& c, bool keep_states = true) {
  StreamWithWorkspace stream;
  HostTensor<T> y({c.tokens, c.inner()});
  HostTensor<T> states = NewStates(c);
  EXPECT_THAT(SsdForward(c.Inputs(), y.view(), keep_states ? states.view() : TensorView(), *stream),
              IsOk());
  return y.values();
}

template <typename T>
struct Gradients {
  HostTensor<T> xbc, dt_raw, dt_bias, a_log, skip;
};

template <typename T>
Gradients<T> Backward(Case<T>& c, const Gradients<T>* initial = nullptr) {
  StreamWithWorkspace stream;
  HostTensor<T> y({c.tokens, c.inner()});
  HostTensor<T> states = NewStates(c);
  const int64_t heads = c.shape.num_heads;
  Gradients<T> g{{c.tokens, c.wide()}, {c.tokens, heads}, {heads}, {heads}, {heads}};
  if (initial != nullptr) g = *initial;
  EXPECT_THAT(SsdForward(c.Inputs(), y.view(), states.view(), *stream), IsOk());
  EXPECT_THAT(SsdBackward(c.Inputs(), states.view(), c.d_y.view(),
                          {.d_x_TI = c.X(g.xbc.view()),
                           .d_b_TS = c.B(g.xbc.view()),
                           .d_c_TS = c.C(g.xbc.view()),
                           .d_dt_raw_TH = g.dt_raw.view(),
                           .d_dt_bias_H = g.dt_bias.view(),
                           .d_a_log_H = g.a_log.view(),
                           .d_skip_H = g.skip.view(),
                           .accumulate = initial != nullptr},
                          *stream),
              IsOk());
  return g;
}

Case<float> WorkedExample() {
  using Tensor = HostTensor<float>;
  using Values = std::vector<float>;
  Case<float> c{.shape = {1, 1, 1, 1, 2},
                .tokens = 3,
                .row_length = 3,
                .seq_idx = {},
                .xbc = Tensor({3, 6}),
                .dt_raw = Tensor({3, 1}, Values{0, 1, -1}),
                .dt_bias = Tensor({1}, Values{.5}),
                .a_log = Tensor({1}, Values{0}),
                .skip = Tensor({1}, Values{.5}),
                .d_y = Tensor({3, 1}, Values{1, 1, 1})};
  const float x[] = {1, 2, -1}, b[] = {1, .5, 2}, out[] = {1, 1, .5};
  for (int t = 0; t < 3; ++t) {
    c.xbc[t * 6 + 3] = x[t];
    c.xbc[t * 6 + 4] = b[t];
    c.xbc[t * 6 + 5] = out[t];
  }
  return c;
}

template <typename T>
std::vector<T> Column(const HostTensor<T>& matrix, int64_t width, int64_t column) {
  std::vector<T> values;
  for (size_t i = column; i < matrix.values().size(); i += width) values.push_back(matrix[i]);
  return values;
}

TEST(SsdTest, WorkedExample) {
  for (int64_t chunk : {1, 2, 3, 16}) {
    Case<float> c = WorkedExample();
    c.shape.chunk_length = chunk;
    const ErrorSpec spec{.absolute = 1e-6};
    EXPECT_THAT(Forward(c), IsCloseTo(std::vector{1.4740770, 2.8791098, -0.3892423}, spec));
    const Gradients<float> g = Backward(c);
    EXPECT_THAT(Column(g.xbc, 6, 3), IsCloseTo(std::vector{1.7070779, 1.6154718, .9740770}, spec));
    EXPECT_THAT(Column(g.xbc, 6, 4), IsCloseTo(std::vector{1.2070779, 4.4618871, -.2370385}, spec));
    EXPECT_THAT(Column(g.xbc, 6, 5), IsCloseTo(std::vector{.9740770, 1.8791098, .2215154}, spec));
    EXPECT_THAT(g.dt_raw.values(), IsCloseTo(std::vector{.7713527, .8815323, -.5983396}, spec));
    EXPECT_THAT(g.dt_bias.values(), IsCloseTo(std::vector{1.0545454}, spec));
    EXPECT_THAT(g.a_log.values(), IsCloseTo(std::vector{-.6736875}, spec));
    c.seq_idx = {0, 0, 1};
    EXPECT_THAT(Forward(c), IsCloseTo(std::vector{1.4740770, 2.8791098, -.9740770}, spec));
  }
}

TEST(SsdTest, TheChunkedFormEqualsTheRecurrence) {
  for (int64_t length : {1, 15, 16, 17, 64, 100}) {
    for (bool packed : {false, true}) {
      Case<double> c = RandomCase({8, 32, 2, 16, 16}, 2, length);
      for (int64_t t = 0; packed && t < c.tokens; ++t) {
        c.seq_idx.push_back(static_cast<int32_t>(t % length < 2 ? 0 : 1 + (t % length - 2) / 7));
      }
      const std::vector<double> expected = Sequential(c);
      EXPECT_THAT(Forward(c), IsCloseTo(expected, {.relative_to_max = 1e-13}));
      EXPECT_THAT(Forward(c, /*keep_states=*/false), ElementsAreArray(Forward(c)));
      Case<float> f = AsFloat(c);
      EXPECT_THAT(Forward(f),
                  IsCloseTo(Sequential(AsDouble(f)), {.relative_to_max = 16 * Epsilon<float>()}));
    }
  }
}

TEST(SsdTest, OddExtentsEqualTheRecurrence) {
  for (const SsdShape& shape : {SsdShape{3, 5, 1, 3, 4}, SsdShape{6, 17, 3, 19, 33},
                                SsdShape{2, 64, 1, 128, 128}, SsdShape{4, 48, 4, 1, 1}}) {
    Case<double> c = RandomCase(shape, 1, 70);
    EXPECT_THAT(Forward(c), IsCloseTo(Sequential(c), {.relative_to_max = 1e-13}));
  }
}

void ExpectFiniteDifferences(Case<double>& c) {
  const auto loss = [&] {
    const std::vector<double> y = Forward(c, /*keep_states=*/false);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * c.d_y[i];
    return sum;
  };
  const auto expect = [&](HostTensor<double>& at, const HostTensor<double>& gradient,
                          const char* what) {
    for (size_t i = 0; i < at.values().size(); ++i) {
      if (&at == &c.xbc && static_cast<int64_t>(i) % c.wide() < kMargin) {
        EXPECT_TRUE(std::isnan(gradient[i])) << "written beside the slice";
        continue;
      }
      const double center = at[i], step = 1e-4;
      // Fourth order: the truncation error stays below the tolerance at steep softplus.
      const auto difference = [&](double h) {
        at[i] = center + h;
        const double up = loss();
        at[i] = center - h;
        const double down = loss();
        at[i] = center;
        return (up - down) / (2 * h);
      };
      const double expected = (4 * difference(step) - difference(2 * step)) / 3;
      EXPECT_NEAR(gradient[i], expected, 1e-8 * (1 + std::fabs(expected))) << what << " " << i;
    }
  };
  const Gradients<double> g = Backward(c);
  expect(c.xbc, g.xbc, "xbc");
  expect(c.dt_raw, g.dt_raw, "dt_raw");
  expect(c.dt_bias, g.dt_bias, "dt_bias");
  expect(c.a_log, g.a_log, "a_log");
  expect(c.skip, g.skip, "skip");
}

TEST(SsdTest, GradientsAgreeWithFiniteDifferences) {
  Case<double> c = RandomCase({4, 3, 2, 2, 5}, 2, 13);
  ExpectFiniteDifferences(c);
}

TEST(SsdTest, GradientsAcrossSequenceBreaksAgreeWithFiniteDifferences) {
  Case<double> c = RandomCase({2, 2, 1, 3, 4}, 1, 19);
  // Breaks inside chunks, at a chunk's first token, several in one chunk.
  c.seq_idx = {0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 6, 6};
  ExpectFiniteDifferences(c);
}

TEST(SsdTest, GradientsOfLimitedStepsAgreeWithFiniteDifferences) {
  for (const SsdStepLimits limits : {SsdStepLimits{.min = 0.5}, SsdStepLimits{.max = 0.9},
                                     SsdStepLimits{.min = 0.4, .max = 1}}) {
    Case<double> c = RandomCase({3, 2, 1, 3, 4}, 1, 19);
    c.seq_idx = {0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 6, 6};
    c.steps = limits;
    int limited = 0;
    for (int64_t i = 0; i < c.tokens * 3; ++i) {
      const auto step = [&] { return std::log1p(std::exp(c.dt_raw[i] + c.dt_bias[i % 3])); };
      // No difference is taken across a limit.
      while (std::fabs(step() - limits.min) < 1e-3 || std::fabs(step() - limits.max) < 1e-3) {
        c.dt_raw[i] += 0.01;
      }
      limited += step() < limits.min || step() > limits.max;
    }
    EXPECT_GT(limited, 0);
    EXPECT_LT(limited, c.tokens * 3);
    EXPECT_THAT(Forward(c), IsCloseTo(Sequential(c), {.relative_to_max = 1e-13}));
    ExpectFiniteDifferences(c);
  }
}

TEST(SsdTest, LimitsThatNoStepReachesChangeNothing) {
  Case<float> c = AsFloat(RandomCase({4, 8, 2, 4, 16}, 2, 20));
  const std::vector<float> y = Forward(c);
  const Gradients<float> g = Backward(c);
  c.steps = {.min = 1e-30, .max = 1e6};
  const ErrorSpec spec{.relative_to_max = 4 * Epsilon<float>()};
  EXPECT_THAT(Forward(c), IsCloseTo(y, spec));
  EXPECT_THAT(Backward(c).dt_raw.values(), IsCloseTo(g.dt_raw.values(), spec));
}

TEST(SsdTest, FloatGradientsAgreeWithDouble) {
  Case<double> c = RandomCase({8, 32, 2, 16, 16}, 2, 48);
  Case<float> f = AsFloat(c);
  c = AsDouble(f);
  const Gradients<double> expected = Backward(c);
  const Gradients<float> actual = Backward(f);
  const ErrorSpec spec{.relative_to_max = 64 * Epsilon<float>()};
  const auto inside = [&](const auto& xbc) {
    std::vector<double> values;
    for (size_t i = 0; i < xbc.values().size(); ++i) {
      if (static_cast<int64_t>(i) % c.wide() >= kMargin) values.push_back(xbc[i]);
    }
    return values;
  };
  EXPECT_THAT(inside(actual.xbc), IsCloseTo(inside(expected.xbc), spec));
  EXPECT_THAT(actual.dt_raw.values(), IsCloseTo(expected.dt_raw.values(), spec));
  EXPECT_THAT(actual.dt_bias.values(), IsCloseTo(expected.dt_bias.values(), spec));
  EXPECT_THAT(actual.a_log.values(), IsCloseTo(expected.a_log.values(), spec));
  EXPECT_THAT(actual.skip.values(), IsCloseTo(expected.skip.values(), spec));
}

TEST(SsdTest, APackEqualsItsSequencesAlone) {
  Case<double> pack = RandomCase({4, 8, 2, 4, 16}, 1, 3 + 20 + 1 + 33);
  const std::vector<int64_t> lengths = {3, 20, 1, 33};
  for (size_t i = 0; i < lengths.size(); ++i) {
    pack.seq_idx.insert(pack.seq_idx.end(), lengths[i], static_cast<int32_t>(i));
  }
  Case<float> packed = AsFloat(pack);
  const std::vector<float> y = Forward(packed);
  int64_t begin = 0;
  for (int64_t length : lengths) {
    const auto rows = [&](const HostTensor<double>& from, int64_t width) {
      return HostTensor<double>({length, width},
                                std::vector(from.values().begin() + begin * width,
                                            from.values().begin() + (begin + length) * width));
    };
    Case<float> alone = AsFloat({pack.shape,
                                 length,
                                 length,
                                 {},
                                 rows(pack.xbc, pack.wide()),
                                 rows(pack.dt_raw, 4),
                                 pack.dt_bias,
                                 pack.a_log,
                                 pack.skip,
                                 rows(pack.d_y, pack.inner())});
    EXPECT_THAT(
        std::vector(y.begin() + begin * pack.inner(), y.begin() + (begin + length) * pack.inner()),
        IsCloseTo(Forward(alone), {.relative_to_max = 1e-5}));
    begin += length;
  }
}

TEST(SsdTest, ParameterGradientsAccumulateAndRepeatBitwise) {
  Case<float> c = AsFloat(RandomCase({4, 8, 2, 4, 16}, 2, 20));
  const Gradients<float> once = Backward(c);
  const Gradients<float> twice = Backward(c, &once);
  for (int64_t h = 0; h < 4; ++h) {
    EXPECT_EQ(twice.dt_bias[h], 2 * once.dt_bias[h]);
    EXPECT_EQ(twice.a_log[h], 2 * once.a_log[h]);
    EXPECT_EQ(twice.skip[h], 2 * once.skip[h]);
  }
  EXPECT_THAT(twice.dt_raw.values(), ElementsAreArray(once.dt_raw.values()));
  for (size_t i = 0; i < once.xbc.values().size(); ++i) {
    if (static_cast<int64_t>(i) % c.wide() >= kMargin) {
      EXPECT_EQ(once.xbc[i], twice.xbc[i]);
    }
  }
}

TEST(SsdTest, LongStrongDecayStaysFinite) {
  Case<double> c = RandomCase({1, 4, 1, 4, 128}, 1, 8192);
  c.a_log[0] = std::log(16.0);
  c.dt_bias[0] = 0;
  for (double& r : c.dt_raw.values()) r = std::log(std::expm1(0.1));
  Case<float> f = AsFloat(c);
  EXPECT_THAT(Forward(f),
              IsCloseTo(Sequential(AsDouble(f)), {.relative_to_max = 64 * Epsilon<float>()}));
  const Gradients<float> g = Backward(f);
  for (float value : g.dt_raw.values()) ASSERT_TRUE(std::isfinite(value));
}

TEST(SsdTest, AZeroStepLeavesTheStateAsItIs) {
  Case<float> c = AsFloat(RandomCase({1, 4, 1, 4, 2}, 1, 6));
  c.skip[0] = 0;
  c.dt_raw[3] = -200;  // softplus is exactly zero
  for (int64_t n = 0; n < 4; ++n) {
    c.xbc[3 * c.wide() + kMargin + 8 + n] = c.xbc[2 * c.wide() + kMargin + 8 + n];
  }
  const std::vector<float> y = Forward(c);
  EXPECT_THAT(std::vector(y.begin() + 12, y.begin() + 16),
              IsCloseTo(std::vector(y.begin() + 8, y.begin() + 12),
                        {.relative_to_max = 4 * Epsilon<float>()}));
}

TEST(SsdTest, NoTokensGiveZeroParameterGradients) {
  Case<float> c = AsFloat(RandomCase({2, 4, 1, 4, 2}, 0, 6));
  EXPECT_THAT(Backward(c).a_log.values(), Each(0.0f));
}

TEST(SsdTest, RejectsOperandsThatDoNotFit) {
  StreamWithWorkspace stream;
  Case<float> c = AsFloat(RandomCase({4, 8, 2, 4, 16}, 1, 20));
  HostTensor<float> y({20, 32});
  SsdInputs inputs = c.Inputs();
  inputs.shape.num_groups = 3;
  EXPECT_THAT(SsdForward(inputs, y.view(), {}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("divisor of the 4 heads")));
  inputs = c.Inputs();
  inputs.steps = {.min = 2, .max = 1};
  EXPECT_THAT(SsdForward(inputs, y.view(), {}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("limited to 2 to 1")));
  inputs = c.Inputs();
  inputs.b_TS = inputs.b_TS.Columns(0, 7);
  EXPECT_THAT(SsdForward(inputs, y.view(), {}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected [20,8]")));
  EXPECT_THAT(SsdForward(c.Inputs(), y.view(), y.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("states is f32[20,32]")));
}

TEST(SsdTest, AGpuNamesTheLargestExtentItTakes) {
  StreamWithWorkspace stream(Device{.kind = DeviceKind::kShapeOnly, .predicts = DeviceKind::kCuda});
  Case<float> c = AsFloat(RandomCase({4, 8, 2, 4, 128}, 1, 20));
  HostTensor<float> y({20, 32});
  EXPECT_THAT(SsdForward(c.Inputs(), y.view(), {}, *stream), IsOk());
  c.shape.chunk_length = 129;
  EXPECT_THAT(SsdForward(c.Inputs(), y.view(), {}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("chunk_length is 129; a GPU takes up to 128")));
}

TEST(SsdTest, TheShapeOnlyDeviceCountsAndTouchesNothing) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  Arena arena = Arena::Counting(MemoryLabel::kActivations);
  const auto tensor = [&](std::initializer_list<int64_t> dims) {
    return arena.Allocate(DType::kF32, dims).value();
  };
  const SsdInputs inputs{.shape = {8, 32, 2, 16, 16},
                         .sequences = {.num_rows = 8, .row_length = 48},
                         .x_TI = tensor({384, 256}),
                         .b_TS = tensor({384, 32}),
                         .c_TS = tensor({384, 32}),
                         .dt_raw_TH = tensor({384, 8}),
                         .dt_bias_H = tensor({8}),
                         .a_log_H = tensor({8}),
                         .skip_H = tensor({8})};
  ASSERT_THAT(SsdForward(inputs, tensor({384, 256}), {}, *stream), IsOk());
  EXPECT_EQ(stream->ledger().total_flops(), 384.0 * (2 * 2 * 256 * 16 + 256 * 16 + 32 * 16));
  EXPECT_GT(stream->workspace().peak_bytes(), 0);
}

}  // namespace
}  // namespace hetero
