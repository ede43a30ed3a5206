#include "hetero/tensor/ops/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <tuple>
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
using ::testing::HasSubstr;

struct Heads {
  int64_t groups, heads_per_group, size;

  int64_t heads() const { return groups * heads_per_group; }
  int64_t qkv_columns() const { return (heads() + 2 * groups) * size; }
  int64_t o_columns() const { return heads() * size; }
};

// The definition, one query at a time, with its gradient, in f64.
struct Reference {
  std::vector<double> o, lse, d_qkv;
};

Reference Naive(const AttentionShape& shape, const Heads& heads, const std::vector<double>& qkv,
                const std::vector<double>& d_o) {
  const int64_t tokens = shape.segments.back();
  const int64_t x = heads.qkv_columns(), y = heads.o_columns(), size = heads.size;
  Reference out{std::vector<double>(tokens * y, 0), std::vector<double>(heads.heads() * tokens),
                std::vector<double>(tokens * x, 0)};
  for (size_t s = 0; s + 1 < shape.segments.size(); ++s) {
    for (int64_t t = shape.segments[s]; t < shape.segments[s + 1]; ++t) {
      const int64_t first = shape.segments[s];
      const int64_t last = shape.causal ? t + 1 : shape.segments[s + 1];
      for (int64_t h = 0; h < heads.heads(); ++h) {
        const int64_t group = h / heads.heads_per_group;
        const int64_t slot = group * (heads.heads_per_group + 2);
        const int64_t q = t * x + (slot + h % heads.heads_per_group) * size;
        const auto k = [&](int64_t u) { return u * x + (slot + heads.heads_per_group) * size; };
        const auto v = [&](int64_t u) { return k(u) + size; };
        std::vector<double> p(last - first);
        double sum = 0;
        for (int64_t u = first; u < last; ++u) {
          double score = 0;
          for (int64_t d = 0; d < size; ++d) score += qkv[q + d] * qkv[k(u) + d];
          sum += p[u - first] = std::exp(score * shape.scale);
        }
        out.lse[h * tokens + t] = std::log(sum);
        double delta = 0;
        std::vector<double> dp(last - first, 0);
        for (int64_t u = first; u < last; ++u) {
          p[u - first] /= sum;
          for (int64_t d = 0; d < size; ++d) {
            out.o[t * y + h * size + d] += p[u - first] * qkv[v(u) + d];
            dp[u - first] += d_o[t * y + h * size + d] * qkv[v(u) + d];
          }
          delta += p[u - first] * dp[u - first];
        }
        for (int64_t u = first; u < last; ++u) {
          const double ds = p[u - first] * (dp[u - first] - delta) * shape.scale;
          for (int64_t d = 0; d < size; ++d) {
            out.d_qkv[q + d] += ds * qkv[k(u) + d];
            out.d_qkv[k(u) + d] += ds * qkv[q + d];
            out.d_qkv[v(u) + d] += p[u - first] * d_o[t * y + h * size + d];
          }
        }
      }
    }
  }
  return out;
}

template <typename T>
struct Attention {
  Attention(const Heads& heads, std::vector<int32_t> offsets, bool causal)
      : heads(heads),
        offsets(std::move(offsets)),
        shape{.num_groups = heads.groups,
              .heads_per_group = heads.heads_per_group,
              .head_size = heads.size,
              .segments = this->offsets,
              .causal = causal,
              .scale = 1.0 / std::sqrt(heads.size)} {}

  AttentionForwardArgs ForwardArgs() {
    return {.shape = shape,
            .qkv = qkv.view(),
            .o = o.view().Columns(0, heads.o_columns()),
            .lse_HT = lse.view()};
  }
  AttentionBackwardArgs BackwardArgs() {
    return {.shape = shape,
            .qkv = qkv.view(),
            .o = o.view().Columns(0, heads.o_columns()),
            .lse_HT = lse.view(),
            .d_o = d_o.view(),
            .d_qkv = d_qkv.view().Columns(1, heads.qkv_columns())};
  }
  void Run() {
    ASSERT_THAT(AttentionForward(ForwardArgs(), *stream), IsOk());
    ASSERT_THAT(AttentionBackward(BackwardArgs(), *stream), IsOk());
  }
  std::vector<T> Output() const { return Columns(o.values(), heads.o_columns() + 1, 0, 1); }
  std::vector<T> Gradient() const { return Columns(d_qkv.values(), heads.qkv_columns() + 1, 1, 0); }
  static std::vector<T> Columns(const std::vector<T>& wide, int64_t stride, int64_t before,
                                int64_t after) {
    std::vector<T> narrow;
    for (size_t row = 0; row + stride <= wide.size(); row += stride) {
      for (int64_t c = before; c < stride - after; ++c) narrow.push_back(wide[row + c]);
    }
    return narrow;
  }

  Heads heads;
  std::vector<int32_t> offsets;
  AttentionShape shape;
  int64_t tokens = offsets.back();
  std::mt19937_64 generator = FreshGenerator();
  HostTensor<T> qkv = HostTensor<T>::Normal({tokens, heads.qkv_columns()}, generator);
  HostTensor<T> d_o = HostTensor<T>::Normal({tokens, heads.o_columns()}, generator);
  HostTensor<T> o{{tokens, heads.o_columns() + 1}}, lse{{heads.heads(), tokens}};
  HostTensor<T> d_qkv{{tokens, heads.qkv_columns() + 1}};
  StreamWithWorkspace stream;
};

class AttentionTest
    : public ::testing::TestWithParam<std::tuple<Heads, std::vector<int32_t>, bool>> {
 protected:
  template <typename T>
  void ExpectDefinition(double tolerance) {
    const auto& [heads, offsets, causal] = GetParam();
    Attention<T> attention(heads, offsets, causal);
    attention.Run();
    const Reference expected =
        Naive(attention.shape, heads, attention.qkv.template As<double>().values(),
              attention.d_o.template As<double>().values());
    const ErrorSpec spec{.absolute = tolerance, .relative = tolerance};
    EXPECT_THAT(attention.Output(), IsCloseTo(expected.o, spec));
    EXPECT_THAT(attention.lse.values(), IsCloseTo(expected.lse, spec));
    EXPECT_THAT(attention.Gradient(), IsCloseTo(expected.d_qkv, spec));
  }
};

TEST_P(AttentionTest, EqualsTheDefinitionAndItsGradient) {
  ExpectDefinition<float>(64 * Epsilon<float>());
  ExpectDefinition<double>(1e-12);
}

// Group counts from one shared key to one key a head, the encoder's size 16, odd sizes, and
// segments around the query block, empty ones among them.
INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionTest,
    ::testing::Combine(::testing::Values(Heads{1, 4, 32}, Heads{2, 2, 16}, Heads{4, 1, 5},
                                         Heads{1, 1, 80}),
                       ::testing::Values(std::vector<int32_t>{0}, std::vector<int32_t>{0, 1},
                                         std::vector<int32_t>{0, 63}, std::vector<int32_t>{0, 64},
                                         std::vector<int32_t>{0, 65, 65, 66, 114, 131},
                                         std::vector<int32_t>{0, 0, 17, 33}),
                       ::testing::Bool()));

TEST(AttentionGradientTest, AgreesWithFiniteDifferences) {
  Attention<double> attention({2, 2, 3}, {0, 4, 9}, true);
  const auto loss = [&] {
    EXPECT_THAT(AttentionForward(attention.ForwardArgs(), *attention.stream), IsOk());
    const std::vector<double> o = attention.Output();
    double sum = 0;
    for (size_t i = 0; i < o.size(); ++i) sum += o[i] * attention.d_o[i];
    return sum;
  };
  std::vector<double> numeric;
  for (double& value : attention.qkv.values()) {
    const double kept = value;
    value = kept + 1e-5;
    const double above = loss();
    value = kept - 1e-5;
    numeric.push_back((above - loss()) / 2e-5);
    value = kept;
  }
  attention.Run();
  EXPECT_THAT(attention.Gradient(), IsCloseTo(numeric, {.absolute = 1e-8, .relative = 1e-7}));
}

TEST(AttentionPackingTest, ASegmentDoesNotSeeItsNeighbours) {
  Attention<float> packed({2, 2, 16}, {0, 48, 98}, true);
  packed.Run();
  Attention<float> alone({2, 2, 16}, {0, 50}, true);
  const int64_t columns = alone.heads.qkv_columns();
  std::copy_n(packed.qkv.values().begin() + 48 * columns, 50 * columns, alone.qkv.values().begin());
  std::copy_n(packed.d_o.values().begin() + 48 * alone.heads.o_columns(),
              50 * alone.heads.o_columns(), alone.d_o.values().begin());
  alone.Run();
  const auto tail = [](const std::vector<float>& values, size_t count) {
    return std::vector<float>(values.end() - count, values.end());
  };
  EXPECT_EQ(tail(packed.Output(), alone.Output().size()), alone.Output());
  EXPECT_EQ(tail(packed.Gradient(), alone.Gradient().size()), alone.Gradient());
}

TEST(AttentionRangeTest, LargeScoresStayFinite) {
  Attention<float> attention({1, 1, 16}, {0, 40}, false);
  for (float& value : attention.qkv.values()) value *= 100;
  attention.Run();
  const Reference expected =
      Naive(attention.shape, attention.heads, attention.qkv.As<double>().values(),
            attention.d_o.As<double>().values());
  for (const float value : attention.Gradient()) ASSERT_TRUE(std::isfinite(value));
  EXPECT_TRUE(std::isinf(*std::ranges::max_element(expected.lse)))
      << "the scores were meant to be out of range without the maximum taken off";
}

TEST(AttentionErrorsTest, NameTheOffsets) {
  const auto forward = [](std::vector<int32_t> offsets) {
    Attention<float> attention({1, 1, 4}, {0, 8}, false);
    AttentionForwardArgs args = attention.ForwardArgs();
    args.shape.segments = offsets;
    return AttentionForward(args, *attention.stream);
  };
  EXPECT_THAT(forward({0, 5, 3, 8}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("segments[2] is 3 after 5")));
  EXPECT_THAT(forward({0, 7}), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("expected offsets from 0 to 8")));
  EXPECT_THAT(forward({}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(AttentionShapeOnlyTest, AllocatesAndCountsAsTheRunDoes) {
  const Heads heads{2, 2, 32};
  Attention<float> real(heads, {0, 48, 96}, true);
  real.Run();
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const auto nowhere = [](std::initializer_list<int64_t> dims) {
    return TensorView(reinterpret_cast<void*>(kShapeOnlyAddress), DType::kF32, dims);
  };
  const TensorView qkv = nowhere({96, heads.qkv_columns()}), o = nowhere({96, heads.o_columns()});
  const TensorView lse = nowhere({4, 96});
  ASSERT_THAT(AttentionForward({.shape = real.shape, .qkv = qkv, .o = o, .lse_HT = lse}, *stream),
              IsOk());
  ASSERT_THAT(AttentionBackward(
                  {.shape = real.shape, .qkv = qkv, .o = o, .lse_HT = lse, .d_o = o, .d_qkv = qkv},
                  *stream),
              IsOk());
  EXPECT_EQ(stream->workspace().peak_bytes(), real.stream->workspace().peak_bytes());
  EXPECT_EQ(stream->ledger().total_flops(), 2 * (48 * 49 / 2) * 4 * 14.0 * 32);
}

}  // namespace
}  // namespace hetero
