#include <algorithm>
#include <cstdint>
#include <numeric>
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
#include "hetero/tensor/ops/moe_permute/moe_permute.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Extents {
  int64_t tokens, top_k, experts, features, gap;

  friend void PrintTo(const Extents& e, std::ostream* out) {
    *out << e.tokens << "x" << e.top_k << "of" << e.experts << "x" << e.features << "+" << e.gap;
  }
};

// One and several chunks of choices, fewer and more experts than the threads of a block.
constexpr Extents kExtents[] = {{1, 1, 1, 1, 0},       {37, 2, 5, 37, 3},    {384, 2, 8, 128, 0},
                                {1111, 6, 128, 72, 8}, {300, 8, 700, 24, 0}, {9, 9, 9, 520, 8},
                                {13, 3, 4, 4424, 8},   {0, 2, 4, 16, 0}};

class MoePermuteCudaTest : public ::testing::TestWithParam<std::tuple<DType, Extents, bool>> {};

TEST_P(MoePermuteCudaTest, EqualsTheCpu) {
  const auto [dtype, e, padded] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  int64_t num_rows = 0;
  HostTensor<int32_t> experts({e.tokens, e.top_k}), counts({e.experts});
  std::fill(counts.values().begin(), counts.values().end(), 0);
  std::vector<int32_t> all(e.experts);
  std::iota(all.begin(), all.end(), 0);
  for (int64_t t = 0; t < e.tokens; ++t) {
    if (padded && generator() % 3 == 0) {
      std::fill_n(experts.values().begin() + t * e.top_k, e.top_k, -1);
      continue;
    }
    num_rows += e.top_k;
    std::shuffle(all.begin(), all.end(), generator);
    std::sort(all.begin(), all.begin() + e.top_k);
    for (int64_t j = 0; j < e.top_k; ++j) {
      experts[t * e.top_k + j] = all[j];
      ++counts[all[j]];
    }
  }
  HostTensor<int32_t> offsets({e.experts + 1}), rows({e.tokens, e.top_k}), tokens({num_rows});
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_experts(DType::kI32, experts, *gpu), gpu_counts(DType::kI32, counts, *gpu),
      gpu_offsets(DType::kI32, {e.experts + 1}, *gpu),
      gpu_rows(DType::kI32, {e.tokens, e.top_k}, *gpu), gpu_tokens(DType::kI32, {num_rows}, *gpu);
  ASSERT_THAT(
      AssignExpertRows({experts.view(), counts.view(), offsets.view(), rows.view(), tokens.view()},
                       *cpu),
      IsOk());
  ASSERT_THAT(AssignExpertRows({gpu_experts.view(), gpu_counts.view(), gpu_offsets.view(),
                                gpu_rows.view(), gpu_tokens.view()},
                               *gpu),
              IsOk());
  const auto doubles = [](const HostTensor<int32_t>& tensor) {
    return std::vector<double>(tensor.values().begin(), tensor.values().end());
  };
  ASSERT_EQ(gpu_offsets.Values(), doubles(offsets));
  ASSERT_EQ(gpu_rows.Values(), doubles(rows));
  ASSERT_EQ(gpu_tokens.Values(), doubles(tokens));

  const auto slice = [&](const auto& view) { return view.Columns(e.gap, e.features); };
  const auto x = NormalFor(dtype, {e.tokens, e.features + e.gap}, generator);
  const DeviceTensor gpu_x(dtype, x, *gpu), gpu_out(dtype, {num_rows, e.features}, *gpu);
  HostTensor<double> out({num_rows, e.features});
  ASSERT_THAT(GatherTokenRows(slice(x.view()), tokens.view(), out.view(), *cpu), IsOk());
  ASSERT_THAT(GatherTokenRows(slice(gpu_x.view()), gpu_tokens.view(), gpu_out.view(), *gpu),
              IsOk());
  EXPECT_EQ(gpu_out.Values(), out.values());
  HostTensor<double> scattered({num_rows, e.features});
  const DeviceTensor gpu_scattered(dtype, {num_rows, e.features}, *gpu);
  ASSERT_THAT(ScatterTokenRows(slice(x.view()), rows.view(), scattered.view(), *cpu), IsOk());
  ASSERT_THAT(ScatterTokenRows(slice(gpu_x.view()), gpu_rows.view(), gpu_scattered.view(), *gpu),
              IsOk());
  EXPECT_EQ(scattered.values(), out.values());
  EXPECT_EQ(gpu_scattered.Values(), out.values());

  const auto row_values = NormalFor(dtype, {num_rows, e.features}, generator);
  const DeviceTensor gpu_row_values(dtype, row_values, *gpu);
  for (const bool adds : {false, true}) {
    auto sum = x;
    const DeviceTensor gpu_sum(dtype, x, *gpu);
    const auto addend = [&](const TensorView& view) { return adds ? slice(view) : TensorView(); };
    ASSERT_THAT(
        SumTokenRows(row_values.view(), rows.view(), addend(sum.view()), slice(sum.view()), *cpu),
        IsOk());
    ASSERT_THAT(SumTokenRows(gpu_row_values.view(), gpu_rows.view(), addend(gpu_sum.view()),
                             slice(gpu_sum.view()), *gpu),
                IsOk());
    EXPECT_THAT(gpu_sum.Values(),
                IsCloseTo(sum.values(), {.absolute = 16 * Epsilon<float>(),
                                         .relative = Epsilon(dtype) + 8 * Epsilon<float>()}));
  }

  auto values = NormalFor(dtype, {e.tokens, e.top_k}, generator);
  HostTensor<double> at_rows({num_rows});
  const DeviceTensor gpu_values(dtype, values, *gpu), gpu_at_rows(dtype, {num_rows}, *gpu),
      back(dtype, {e.tokens, e.top_k}, *gpu);
  ASSERT_THAT(ScatterToRows(values.view(), rows.view(), at_rows.view(), *cpu), IsOk());
  ASSERT_THAT(ScatterToRows(gpu_values.view(), gpu_rows.view(), gpu_at_rows.view(), *gpu), IsOk());
  EXPECT_EQ(gpu_at_rows.Values(), at_rows.values());
  ASSERT_THAT(GatherFromRows(gpu_at_rows.view(), gpu_rows.view(), back.view(), *gpu), IsOk());
  for (int64_t i = 0; i < e.tokens * e.top_k; ++i) {
    if (rows[i] < 0) values[i] = 0;
  }
  EXPECT_EQ(back.Values(), values.values());
}

INSTANTIATE_TEST_SUITE_P(Extents, MoePermuteCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents), ::testing::Bool()));

}  // namespace
}  // namespace hetero
