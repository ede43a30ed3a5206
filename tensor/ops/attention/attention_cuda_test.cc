#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

struct Heads {
  int64_t groups, heads_per_group, size;

  int64_t heads() const { return groups * heads_per_group; }
  int64_t qkv_columns() const { return (heads() + 2 * groups) * size; }
  int64_t o_columns() const { return heads() * size; }

  friend void PrintTo(const Heads& h, std::ostream* out) {
    *out << h.groups << " groups of " << h.heads_per_group << " heads of " << h.size;
  }
};

AttentionShape ShapeOf(const Heads& heads, std::span<const int32_t> segments, bool causal) {
  return {.num_groups = heads.groups,
          .heads_per_group = heads.heads_per_group,
          .head_size = heads.size,
          .segments = segments,
          .causal = causal,
          .scale = 1.0 / std::sqrt(heads.size)};
}

// The gap's elements, and the others, of rows that end with a gap.
std::pair<std::vector<double>, std::vector<double>> SplitGap(const std::vector<double>& values,
                                                             int64_t columns, int64_t gap) {
  std::vector<double> of_gap, of_rows;
  for (size_t i = 0; i < values.size(); ++i) {
    (static_cast<int64_t>(i) % (columns + gap) < columns ? of_rows : of_gap).push_back(values[i]);
  }
  return {of_gap, of_rows};
}

// ‖actual - expected‖ / ‖expected‖; a NaN stays.
double RelativeDistance(const std::vector<double>& actual, const std::vector<double>& expected) {
  double distance = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    distance += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return size == 0 ? distance : std::sqrt(distance / size);
}

// In f32 a score is a sum of D products of size 1, brought back to size 1 by the scale: it is off
// by some epsilons, as is then every probability, and sums over probabilities keep that. The
// gradients take d_o vᵀ - Δ, two numbers of size √D with errors in their size, and sum over rows
// and heads.
//
// In bf16 with u = epsilon / 2: a probability is rounded (u) before it meets values of up to 4 and
// never all the same way: 2 epsilons. The gradient of a score is rounded (u), and Δ is taken from
// an output that was rounded: √D u for values of size 1, again times the scale; keys sum such
// errors over their queries like a random walk, and those of several heads round each head's sum
// first. The typical error is far smaller than these worst ones and bounded by the distance: u / √3
// for each rounding on the way, of which the output has two, the gradients four.
struct Tolerance {
  ErrorSpec out, lse, gradient;
  double out_distance, gradient_distance;
};

Tolerance ToleranceOf(DType dtype) {
  const double f32 = Epsilon<float>(), bf16 = Epsilon(DType::kBF16);
  const ErrorSpec lse = {.absolute = 256 * f32, .relative = 16 * f32};
  if (dtype == DType::kF32) {
    return {.out = {.absolute = 64 * f32, .relative = 64 * f32},
            .lse = lse,
            .gradient = {.absolute = 256 * f32, .relative = 256 * f32},
            .out_distance = 16 * f32,
            .gradient_distance = 32 * f32};
  }
  return {.out = {.absolute = 2 * bf16, .relative = bf16},
          .lse = lse,
          .gradient = {.absolute = 6 * bf16, .relative = 2 * bf16},
          .out_distance = 0.75 * bf16,
          .gradient_distance = 1.5 * bf16};
}

class AttentionCudaTest : public ::testing::Test {
 protected:
  // Both sides on the same numbers, the GPU twice.
  void ExpectEqualSides(DType dtype, const Heads& heads, const std::vector<int32_t>& segments,
                        bool causal, int64_t gap) {
    const int64_t tokens = segments.back();
    const AttentionShape shape = ShapeOf(heads, segments, causal);
    std::mt19937_64 generator = FreshGenerator();
    const int64_t x = heads.qkv_columns(), y = heads.o_columns();
    const auto qkv = NormalFor(dtype, {tokens, x + gap}, generator);
    const auto d_o = NormalFor(dtype, {tokens, y + gap}, generator);
    HostTensor<double> o({tokens, y}), lse({heads.heads(), tokens}), d_qkv({tokens, x});
    StreamWithWorkspace cpu;
    ASSERT_THAT(
        AttentionForward(
            {.shape = shape, .qkv = qkv.view().Columns(0, x), .o = o.view(), .lse_HT = lse.view()},
            *cpu),
        IsOk());
    ASSERT_THAT(AttentionBackward({.shape = shape,
                                   .qkv = qkv.view().Columns(0, x),
                                   .o = o.view(),
                                   .lse_HT = lse.view(),
                                   .d_o = d_o.view().Columns(0, y),
                                   .d_qkv = d_qkv.view()},
                                  *cpu),
                IsOk());

    const DeviceTensor gpu_qkv(dtype, qkv, gpu_), gpu_d_o(dtype, d_o, gpu_);
    struct Outputs {
      DeviceTensor o, lse, d_qkv;
    };
    const auto run = [&] {
      auto out =
          std::unique_ptr<Outputs>(new Outputs{.o{dtype, {tokens, y + gap}, gpu_},
                                               .lse{DType::kF32, {heads.heads(), tokens}, gpu_},
                                               .d_qkv{dtype, {tokens, x + gap}, gpu_}});
      EXPECT_THAT(AttentionForward({.shape = shape,
                                    .qkv = gpu_qkv.view().Columns(0, x),
                                    .o = out->o.view().Columns(0, y),
                                    .lse_HT = out->lse.view()},
                                   gpu_),
                  IsOk());
      EXPECT_THAT(AttentionBackward({.shape = shape,
                                     .qkv = gpu_qkv.view().Columns(0, x),
                                     .o = out->o.view().Columns(0, y),
                                     .lse_HT = out->lse.view(),
                                     .d_o = gpu_d_o.view().Columns(0, y),
                                     .d_qkv = out->d_qkv.view().Columns(0, x)},
                                    gpu_),
                  IsOk());
      return out;
    };
    const auto first = run(), again = run();
    EXPECT_EQ(first->o.Bits(), again->o.Bits());
    EXPECT_EQ(first->lse.Bits(), again->lse.Bits());
    EXPECT_EQ(first->d_qkv.Bits(), again->d_qkv.Bits());

    const Tolerance tolerance = ToleranceOf(dtype);
    const auto [o_gap, o_rows] = SplitGap(first->o.Values(), y, gap);
    const auto [d_qkv_gap, d_qkv_rows] = SplitGap(first->d_qkv.Values(), x, gap);
    EXPECT_THAT(o_gap, Each(::testing::IsNan()));
    EXPECT_THAT(d_qkv_gap, Each(::testing::IsNan()));
    EXPECT_THAT(first->lse.Values(), IsCloseTo(lse.values(), tolerance.lse));
    EXPECT_THAT(o_rows, IsCloseTo(o.values(), tolerance.out));
    EXPECT_THAT(d_qkv_rows, IsCloseTo(d_qkv.values(), tolerance.gradient));
    EXPECT_LE(RelativeDistance(o_rows, o.values()), tolerance.out_distance);
    EXPECT_LE(RelativeDistance(d_qkv_rows, d_qkv.values()), tolerance.gradient_distance);
  }

  // One stream for all: a library's plans stay with it.
  static void SetUpTestSuite() { stream_ = new StreamWithWorkspace(DeviceKind::kCuda); }
  static void TearDownTestSuite() { delete stream_; }

  inline static StreamWithWorkspace* stream_ = nullptr;
  Stream& gpu_ = **stream_;
};

class AttentionCudaShapesTest
    : public AttentionCudaTest,
      public ::testing::WithParamInterface<std::tuple<DType, Heads, std::vector<int32_t>, bool>> {};

TEST_P(AttentionCudaShapesTest, EqualsTheCpuAndItself) {
  const auto& [dtype, heads, segments, causal] = GetParam();
  ExpectEqualSides(dtype, heads, segments, causal, 0);
}

// One key for all queries up to one a head; sizes of cuDNN and others; segments around the tiles of
// 64 and 128 rows, empty and of one row among longer ones.
INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionCudaShapesTest,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                       ::testing::Values(Heads{1, 4, 128}, Heads{2, 2, 64}, Heads{4, 1, 80},
                                         Heads{1, 2, 16}, Heads{2, 1, 24}, Heads{1, 3, 5}),
                       ::testing::Values(std::vector<int32_t>{0}, std::vector<int32_t>{0, 1},
                                         std::vector<int32_t>{0, 64},
                                         std::vector<int32_t>{0, 300, 301, 301, 429, 494, 623}),
                       ::testing::Bool()));

class AttentionCudaTypesTest : public AttentionCudaTest,
                               public ::testing::WithParamInterface<DType> {};

// 8 keeps the rows aligned for cuDNN, 3 does not.
TEST_P(AttentionCudaTypesTest, KeepsTheGapsOfRows) {
  for (const int64_t gap : {8, 3}) {
    ExpectEqualSides(GetParam(), {2, 2, 32}, {0, 70, 150}, true, gap);
  }
}

TEST_P(AttentionCudaTypesTest, LongSegmentsAndLargeHeads) {
  ExpectEqualSides(GetParam(), {1, 2, 64}, {0, 1100, 1133}, true, 0);
  ExpectEqualSides(GetParam(), {1, 1, 80}, {0, 700}, false, 0);
  ExpectEqualSides(GetParam(), {1, 2, 200}, {0, 90, 131}, true, 0);
}

// Heads that have a kernel of their own: all its ways to share a key, odd lengths, blocks of
// queries that belong to several segments, and segments of more tiles than run at once.
TEST_P(AttentionCudaTypesTest, HeadsOfAnOwnKernel) {
  std::mt19937_64 generator = FreshGenerator();
  std::uniform_int_distribution<int32_t> length(0, 260);
  for (const int64_t size : {80, 128}) {
    for (const int64_t heads_per_group : {1, 3, 8}) {
      std::vector<int32_t> segments = {0};
      for (int s = 0; s < 4; ++s) segments.push_back(segments.back() + length(generator));
      segments.push_back(segments.back() + 1);
      for (const bool causal : {false, true}) {
        ExpectEqualSides(GetParam(), {2, heads_per_group, size}, segments, causal, 8);
      }
    }
    ExpectEqualSides(GetParam(), {1, 1, size}, {0, 1, 3, 1500}, true, 0);
  }
}

// More segments than a kernel's argument has room for.
TEST_P(AttentionCudaTypesTest, ManySegments) {
  std::vector<int32_t> segments = {0};
  for (int32_t s = 0; s < 1000; ++s) segments.push_back(segments.back() + s % 4);
  ExpectEqualSides(GetParam(), {1, 1, 16}, segments, true, 0);
  ExpectEqualSides(GetParam(), {2, 2, 32}, segments, false, 0);
  ExpectEqualSides(GetParam(), {1, 1, 80}, segments, false, 0);
  ExpectEqualSides(GetParam(), {1, 2, 128}, segments, true, 0);
}

TEST_P(AttentionCudaTypesTest, LargeScoresStayFinite) {
  const std::vector<int32_t> segments = {0, 40};
  const Heads heads = {1, 1, 16};
  const AttentionShape shape = ShapeOf(heads, segments, false);
  std::mt19937_64 generator = FreshGenerator();
  const DeviceTensor qkv(GetParam(), NormalFor(GetParam(), {40, 48}, generator, 100), gpu_);
  const DeviceTensor o(GetParam(), {40, 16}, gpu_), lse(DType::kF32, {1, 40}, gpu_);
  const DeviceTensor d_qkv(GetParam(), {40, 48}, gpu_);
  ASSERT_THAT(AttentionForward(
                  {.shape = shape, .qkv = qkv.view(), .o = o.view(), .lse_HT = lse.view()}, gpu_),
              IsOk());
  ASSERT_THAT(AttentionBackward({.shape = shape,
                                 .qkv = qkv.view(),
                                 .o = o.view(),
                                 .lse_HT = lse.view(),
                                 .d_o = o.view(),
                                 .d_qkv = d_qkv.view()},
                                gpu_),
              IsOk());
  for (const double value : d_qkv.Values()) ASSERT_TRUE(std::isfinite(value));
}

class AttentionCudaWorkspaceTest
    : public AttentionCudaTest,
      public ::testing::WithParamInterface<std::tuple<DType, int64_t>> {};

// A head size of cuDNN's and one of the own kernel's.
TEST_P(AttentionCudaWorkspaceTest, IsThatOfTheDryRun) {
  const auto& [dtype, head_size] = GetParam();
  const std::vector<int32_t> segments = {0, 48, 300};
  const Heads heads = {2, 2, head_size};
  const AttentionShape shape = ShapeOf(heads, segments, true);
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  StreamWithWorkspace dry(Device{.kind = DeviceKind::kShapeOnly, .predicts = DeviceKind::kCuda});
  std::mt19937_64 generator = FreshGenerator();
  const DeviceTensor qkv(dtype, NormalFor(dtype, {300, heads.qkv_columns()}, generator), *gpu);
  const DeviceTensor o(dtype, {300, heads.o_columns()}, *gpu);
  const DeviceTensor lse(DType::kF32, {4, 300}, *gpu);
  const DeviceTensor d_qkv(dtype, {300, heads.qkv_columns()}, *gpu);
  for (StreamWithWorkspace* stream : {&gpu, &dry}) {
    ASSERT_THAT(
        AttentionForward({.shape = shape, .qkv = qkv.view(), .o = o.view(), .lse_HT = lse.view()},
                         **stream),
        IsOk());
    ASSERT_THAT(AttentionBackward({.shape = shape,
                                   .qkv = qkv.view(),
                                   .o = o.view(),
                                   .lse_HT = lse.view(),
                                   .d_o = o.view(),
                                   .d_qkv = d_qkv.view()},
                                  **stream),
                IsOk());
  }
  EXPECT_EQ((*gpu).workspace().peak_bytes(), (*dry).workspace().peak_bytes());
  EXPECT_GT((*dry).workspace().peak_bytes(), 0);
}

INSTANTIATE_TEST_SUITE_P(Heads, AttentionCudaWorkspaceTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::Values(32, 80, 128)));

INSTANTIATE_TEST_SUITE_P(DTypes, AttentionCudaTypesTest,
                         ::testing::Values(DType::kF32, DType::kBF16), DTypeName);

struct Long {
  Heads heads;
  std::vector<int32_t> segments;
  bool causal;
};

// Segments which the CPU's side would take a minute for: the tiled kernels in f32 stand in.
class AttentionCudaLongTest : public AttentionCudaTest,
                              public ::testing::WithParamInterface<Long> {};

TEST_P(AttentionCudaLongTest, EqualsTheTiledKernels) {
  const auto& [heads, segments, causal] = GetParam();
  const int64_t tokens = segments.back(), x = heads.qkv_columns(), y = heads.o_columns();
  const AttentionShape shape = ShapeOf(heads, segments, causal);
  MemoryLedger memory;
  Arena workspace =
      Arena::Create(Device{DeviceKind::kCuda}, MemoryLabel::kWorkspace, int64_t{1} << 30, memory)
          .value();
  const auto stream = Stream::Create(Device{DeviceKind::kCuda}, workspace).value();
  std::mt19937_64 generator = FreshGenerator();
  const auto qkv = NormalFor(DType::kBF16, {tokens, x}, generator);
  const auto d_o = NormalFor(DType::kBF16, {tokens, y}, generator);
  std::vector<double> o[2], d_qkv[2];
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const DeviceTensor gpu_qkv(dtype, qkv, *stream), gpu_d_o(dtype, d_o, *stream);
    const DeviceTensor gpu_o(dtype, {tokens, y}, *stream), gpu_d_qkv(dtype, {tokens, x}, *stream);
    const DeviceTensor lse(DType::kF32, {heads.heads(), tokens}, *stream);
    ASSERT_THAT(
        AttentionForward(
            {.shape = shape, .qkv = gpu_qkv.view(), .o = gpu_o.view(), .lse_HT = lse.view()},
            *stream),
        IsOk());
    ASSERT_THAT(AttentionBackward({.shape = shape,
                                   .qkv = gpu_qkv.view(),
                                   .o = gpu_o.view(),
                                   .lse_HT = lse.view(),
                                   .d_o = gpu_d_o.view(),
                                   .d_qkv = gpu_d_qkv.view()},
                                  *stream),
                IsOk());
    o[dtype == DType::kBF16] = gpu_o.Values();
    d_qkv[dtype == DType::kBF16] = gpu_d_qkv.Values();
  }
  const Tolerance tolerance = ToleranceOf(DType::kBF16);
  EXPECT_THAT(o[1], IsCloseTo(o[0], tolerance.out));
  EXPECT_THAT(d_qkv[1], IsCloseTo(d_qkv[0], tolerance.gradient));
  EXPECT_LE(RelativeDistance(o[1], o[0]), tolerance.out_distance);
  EXPECT_LE(RelativeDistance(d_qkv[1], d_qkv[0]), tolerance.gradient_distance);
}

// cuDNN's backward of long segments that see all keys runs in parts of their queries: long beside
// short, and as many tokens without a long one. Then the own kernel's heads: more tiles than run at
// once, and more tokens than cuDNN's scratch would allow.
INSTANTIATE_TEST_SUITE_P(Segments, AttentionCudaLongTest,
                         ::testing::Values(Long{{2, 1, 16}, {0, 9300, 9340}, false},
                                           Long{{2, 1, 16}, {0, 4000, 8000, 9340}, false},
                                           Long{{4, 1, 80}, {0, 5000, 9001}, false},
                                           Long{{1, 1, 128}, {0, 24001}, true}));

TEST_F(AttentionCudaTest, NamesTheLargestHead) {
  const std::vector<int32_t> segments = {0, 2};
  const DeviceTensor qkv(DType::kF32, {2, 3 * 264}, gpu_), o(DType::kF32, {2, 264}, gpu_);
  const DeviceTensor lse(DType::kF32, {1, 2}, gpu_);
  EXPECT_THAT(AttentionForward({.shape = ShapeOf({1, 1, 264}, segments, false),
                                .qkv = qkv.view(),
                                .o = o.view(),
                                .lse_HT = lse.view()},
                               gpu_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("heads of up to 256")));
}

}  // namespace
}  // namespace hetero
