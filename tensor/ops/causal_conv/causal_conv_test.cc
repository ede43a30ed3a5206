#include "hetero/tensor/ops/causal_conv/causal_conv.h"

#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/memory.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// One problem in a wider buffer: x and its gradient are columns [3, 3 + channels) of 5 + channels.
template <typename T>
struct Case {
  int64_t tokens, channels, taps, row_length;
  std::vector<int32_t> seq_idx;                // empty: one sequence a row
  std::vector<T> wide_x, weight, bias, d_out;  // bias empty: none

  int64_t wide() const { return channels + 5; }
  T& x(int64_t t, int64_t c) { return wide_x[t * wide() + 3 + c]; }
  bool SameSequence(int64_t t, int64_t u) const {
    return t >= 0 && u >= 0 && t / row_length == u / row_length &&
           (seq_idx.empty() || seq_idx[t] == seq_idx[u]);
  }

  CausalConvInputs Inputs() {
    CausalConvInputs inputs{
        .x_TC = TensorView(wide_x.data(), kDTypeOf<T>, {tokens, wide()}).Columns(3, channels),
        .weight_CK = TensorView(weight.data(), kDTypeOf<T>, {channels, taps}),
        .bias_C =
            bias.empty() ? ConstTensorView() : TensorView(bias.data(), kDTypeOf<T>, {channels}),
        .sequences = {.num_rows = tokens / row_length, .row_length = row_length}};
    if (!seq_idx.empty()) {
      inputs.sequences.sequence_index = TensorView(seq_idx.data(), DType::kI32, {tokens});
    }
    return inputs;
  }
};

template <typename T>
Case<T> RandomCase(int64_t rows, int64_t row_length, int64_t channels, int64_t taps, bool packed) {
  std::mt19937_64 random = FreshGenerator();
  std::normal_distribution<double> normal;
  Case<T> c{rows * row_length, channels, taps, row_length, {}, {}, {}, {}, {}};
  const auto fill = [&](std::vector<T>& values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<T>(normal(random)));
  };
  fill(c.wide_x, c.tokens * c.wide());
  fill(c.weight, channels * taps);
  fill(c.bias, channels);
  fill(c.d_out, c.tokens * channels);
  int32_t index = 0;
  for (int64_t t = 0; packed && t < c.tokens; ++t) {
    if (t % row_length == 0) index = 0;
    index += random() % 4 == 0;
    c.seq_idx.push_back(index);
  }
  return c;
}

class CausalConvTest : public ::testing::Test {
 protected:
  CausalConvTest()
      : arena_(Arena::Create({}, MemoryLabel::kWorkspace, 1 << 20, ledger_).value()),
        stream_(Device{}, arena_) {}

  template <typename T>
  std::vector<T> Forward(Case<T>& c) {
    std::vector<T> out(c.tokens * c.channels, static_cast<T>(kNaN));
    EXPECT_THAT(
        CausalConvForward(c.Inputs(), TensorView(out.data(), kDTypeOf<T>, {c.tokens, c.channels}),
                          stream_),
        IsOk());
    return out;
  }

  template <typename T>
  struct Gradients {
    std::vector<T> wide_x, weight, bias;
  };
  template <typename T>
  Gradients<T> Backward(Case<T>& c, bool accumulate = false, T initial = static_cast<T>(kNaN)) {
    Gradients<T> g{std::vector<T>(c.wide_x.size(), static_cast<T>(kNaN)),
                   std::vector<T>(c.weight.size(), initial),
                   std::vector<T>(c.bias.size(), initial)};
    const DType dtype = kDTypeOf<T>;
    EXPECT_THAT(
        CausalConvBackward(
            c.Inputs(), TensorView(c.d_out.data(), dtype, {c.tokens, c.channels}),
            {.d_x_TC =
                 TensorView(g.wide_x.data(), dtype, {c.tokens, c.wide()}).Columns(3, c.channels),
             .d_weight_CK = TensorView(g.weight.data(), dtype, {c.channels, c.taps}),
             .d_bias_C =
                 c.bias.empty() ? TensorView() : TensorView(g.bias.data(), dtype, {c.channels}),
             .accumulate = accumulate},
            stream_),
        IsOk());
    return g;
  }

  MemoryLedger ledger_;
  Arena arena_;
  Stream stream_;
};

template <typename T>
std::vector<double> NaiveForward(Case<T>& c) {
  std::vector<double> out;
  for (int64_t t = 0; t < c.tokens; ++t) {
    for (int64_t i = 0; i < c.channels; ++i) {
      double pre = c.bias.empty() ? 0 : c.bias[i];
      for (int64_t j = 0; j < c.taps; ++j) {
        const int64_t u = t - c.taps + 1 + j;
        if (c.SameSequence(t, u)) pre += double{c.weight[i * c.taps + j]} * c.x(u, i);
      }
      out.push_back(pre / (1 + std::exp(-pre)));
    }
  }
  return out;
}

TEST_F(CausalConvTest, WorkedExample) {
  Case<float> c{5, 1, 4, 5, {}, std::vector<float>(30), {.1f, -.2f, .3f, .4f}, {.05f}, {}};
  const float x[] = {1, 2, -1, .5, 3};
  for (int t = 0; t < 5; ++t) c.x(t, 0) = x[t];
  EXPECT_THAT(Forward(c), IsCloseTo(std::vector{.2747877, .8734376, .0256249, -.1446838, 1.5446681},
                                    {.absolute = 1e-6}));
  c.seq_idx = {0, 0, 1, 1, 1};
  std::vector<double> expected;
  for (double pre : {.45, 1.15, -.35, -.05, 1.6}) expected.push_back(pre / (1 + std::exp(-pre)));
  EXPECT_THAT(Forward(c), IsCloseTo(expected, {.absolute = 1e-6}));
}

TEST_F(CausalConvTest, ForwardAgreesWithTheNaiveLoop) {
  for (int64_t taps : {1, 2, 3, 4}) {
    for (bool packed : {false, true}) {
      auto c = RandomCase<float>(3, 7, 37, taps, packed);
      EXPECT_THAT(Forward(c),
                  IsCloseTo(NaiveForward(c), {.relative_to_max = 8 * Epsilon<float>()}));
      auto d = RandomCase<double>(2, 1, 5, taps, packed);
      EXPECT_THAT(Forward(d),
                  IsCloseTo(NaiveForward(d), {.relative_to_max = 8 * Epsilon<double>()}));
      d.bias.clear();
      EXPECT_THAT(Forward(d),
                  IsCloseTo(NaiveForward(d), {.relative_to_max = 8 * Epsilon<double>()}));
      c.bias.clear();
      const std::vector<float> without = Forward(c);
      const auto gradients = Backward(c);
      c.bias.assign(c.channels, 0);
      EXPECT_THAT(without, ElementsAreArray(Forward(c)));
      EXPECT_THAT(gradients.weight, ElementsAreArray(Backward(c).weight));
    }
  }
}

TEST_F(CausalConvTest, GradientsAgreeWithFiniteDifferences) {
  for (const auto& [taps, biased] :
       {std::pair<int64_t, bool>{2, true}, {4, true}, {3, false}, {4, false}}) {
    auto c = RandomCase<double>(2, 6, 3, taps, /*packed=*/true);
    if (!biased) c.bias.clear();
    const auto loss = [&] {
      const std::vector<double> out = Forward(c);
      double sum = 0;
      for (size_t i = 0; i < out.size(); ++i) sum += out[i] * c.d_out[i];
      return sum;
    };
    const auto expect = [&](std::vector<double>& values, const std::vector<double>& gradient,
                            const char* what) {
      for (size_t i = 0; i < values.size(); ++i) {
        if (std::isnan(gradient[i])) continue;  // a column beside x
        const double saved = values[i], step = 1e-5;
        values[i] = saved + step;
        const double up = loss();
        values[i] = saved - step;
        const double down = loss();
        values[i] = saved;
        EXPECT_NEAR(gradient[i], (up - down) / (2 * step), 1e-8) << what << " " << i;
      }
    };
    const Gradients<double> g = Backward(c);
    for (int64_t t = 0; t < c.tokens; ++t) {
      for (int64_t i = 0; i < c.wide(); ++i) {
        EXPECT_EQ(std::isnan(g.wide_x[t * c.wide() + i]), i < 3 || i >= 3 + c.channels);
      }
    }
    expect(c.wide_x, g.wide_x, "x");
    expect(c.weight, g.weight, "weight");
    expect(c.bias, g.bias, "bias");
  }
}

TEST_F(CausalConvTest, ParameterGradientsAccumulateAndRepeatBitwise) {
  auto c = RandomCase<float>(2, 9, 19, 4, /*packed=*/false);
  const Gradients<float> once = Backward(c);
  const Gradients<float> added = Backward(c, /*accumulate=*/true, 2.0f);
  for (size_t i = 0; i < once.weight.size(); ++i) {
    EXPECT_EQ(added.weight[i], 2.0f + once.weight[i]);
  }
  for (size_t i = 0; i < once.bias.size(); ++i) EXPECT_EQ(added.bias[i], 2.0f + once.bias[i]);
  EXPECT_THAT(Backward(c).weight, ElementsAreArray(once.weight));
}

TEST_F(CausalConvTest, APackEqualsItsSequencesAloneBitwise) {
  auto pack = RandomCase<float>(1, 3 + 1 + 9, 20, 4, /*packed=*/false);
  pack.seq_idx = {0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2};
  const std::vector<float> packed = Forward(pack);
  for (const auto& [begin, length] : {std::pair<int64_t, int64_t>{0, 3}, {3, 1}, {4, 9}}) {
    Case<float> alone = pack;
    alone.tokens = alone.row_length = length;
    alone.seq_idx.clear();
    alone.wide_x.assign(pack.wide_x.begin() + begin * pack.wide(),
                        pack.wide_x.begin() + (begin + length) * pack.wide());
    EXPECT_THAT(std::vector(packed.begin() + begin * pack.channels,
                            packed.begin() + (begin + length) * pack.channels),
                ElementsAreArray(Forward(alone)));
  }
}

TEST_F(CausalConvTest, RejectsOperandsThatDoNotFit) {
  auto c = RandomCase<float>(2, 3, 4, 4, false);
  std::vector<float> out(c.tokens * c.channels);
  TensorView out_TC(out.data(), DType::kF32, {c.tokens, c.channels});
  CausalConvInputs inputs = c.Inputs();
  inputs.sequences.row_length = 4;
  EXPECT_THAT(CausalConvForward(inputs, out_TC, stream_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("2 rows of 4 tokens; expected 6 tokens")));
  inputs = c.Inputs();
  inputs.bias_C = inputs.bias_C.Slice(0, 0, 3);
  EXPECT_THAT(CausalConvForward(inputs, out_TC, stream_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bias is f32[3]")));
  inputs.bias_C = {};
  EXPECT_THAT(CausalConvBackward(
                  inputs, out_TC,
                  {.d_x_TC = out_TC, .d_bias_C = TensorView(out.data(), DType::kF32, {c.channels})},
                  stream_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without a bias")));
}

TEST_F(CausalConvTest, TheShapeOnlyDeviceCountsAndTouchesNothing) {
  Arena arena = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream({.kind = DeviceKind::kShapeOnly}, workspace);
  const TensorView x = arena.Allocate(DType::kF32, {6, 8}).value();
  const TensorView weight = arena.Allocate(DType::kF32, {8, 4}).value();
  const TensorView bias = arena.Allocate(DType::kF32, {8}).value();
  ASSERT_THAT(CausalConvForward({x, weight, bias, {.num_rows = 1, .row_length = 6}}, x, stream),
              IsOk());
  EXPECT_EQ(stream.ledger().total_flops(), 6 * 8 * 12);
}

}  // namespace
}  // namespace hetero
