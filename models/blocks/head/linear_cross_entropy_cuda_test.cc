#include <algorithm>
#include <cmath>
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
#include "hetero/models/blocks/head/linear_cross_entropy.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Extents {
  int64_t tokens, counted, vocabulary, hidden;

  friend void PrintTo(const Extents& e, std::ostream* out) {
    *out << e.counted << "of" << e.tokens << "x" << e.vocabulary << "x" << e.hidden;
  }
};
constexpr Extents kExtents[] = {{7, 7, 9, 5},         {40, 13, 37, 24},   {300, 200, 520, 128},
                                {300, 200, 521, 128}, {64, 33, 4101, 64}, {384, 0, 512, 128}};

class LinearCrossEntropyCudaTest : public ::testing::TestWithParam<std::tuple<DType, Extents>> {};

TEST_P(LinearCrossEntropyCudaTest, EqualsTheCpuAndItself) {
  const auto [dtype, e] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  const double scale = 1 / std::sqrt(static_cast<double>(e.hidden));
  const auto hidden = NormalFor(dtype, {e.tokens, e.hidden}, generator);
  const auto weight = NormalFor(dtype, {e.vocabulary, e.hidden}, generator, scale);
  const auto loss_weight = NormalFor(DType::kF32, {e.counted}, generator);
  std::vector<int32_t> order(e.tokens);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), generator);
  const HostTensor<int32_t> rows({e.counted}, {order.begin(), order.begin() + e.counted});
  HostTensor<int32_t> targets({e.counted});
  for (int32_t& target : targets.values()) {
    target = static_cast<int32_t>(generator() % e.vocabulary);
  }
  HostTensor<double> loss({e.counted}), d_hidden({e.tokens, e.hidden});
  auto dweight = NormalFor(DType::kF32, {e.vocabulary, e.hidden}, generator);
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_hidden(dtype, hidden, *gpu), gpu_weight(dtype, weight, *gpu),
      gpu_loss_weight(DType::kF32, loss_weight, *gpu), gpu_rows(DType::kI32, rows, *gpu),
      gpu_targets(DType::kI32, targets, *gpu), gpu_loss(DType::kF32, {e.counted}, *gpu),
      gpu_d_hidden(dtype, {e.tokens, e.hidden}, *gpu), gpu_dweight(DType::kF32, dweight, *gpu),
      again_d_hidden(dtype, {e.tokens, e.hidden}, *gpu), again_dweight(DType::kF32, dweight, *gpu);
  LinearCrossEntropyArgs args{.hidden_TH = hidden.view(),
                              .weight_VH = weight.view(),
                              .rows_N = rows.view(),
                              .targets_N = targets.view(),
                              .loss_weight_N = loss_weight.view(),
                              .loss_N = loss.view(),
                              .d_hidden_TH = d_hidden.view(),
                              .dweight_VH = dweight.view(),
                              .chunk_rows = 64};
  ASSERT_THAT(LinearCrossEntropy(args, *cpu), IsOk());
  args.hidden_TH = gpu_hidden.view();
  args.weight_VH = gpu_weight.view();
  args.rows_N = gpu_rows.view();
  args.targets_N = gpu_targets.view();
  args.loss_weight_N = gpu_loss_weight.view();
  args.loss_N = gpu_loss.view();
  for (const auto& [d_hidden_view, dweight_view] :
       {std::pair(gpu_d_hidden.view(), gpu_dweight.view()),
        std::pair(again_d_hidden.view(), again_dweight.view())}) {
    args.d_hidden_TH = d_hidden_view;
    args.dweight_VH = dweight_view;
    ASSERT_THAT(LinearCrossEntropy(args, *gpu), IsOk());
  }
  // Logits and their gradient are stored once each.
  const ErrorSpec spec{.absolute = 2 * Epsilon(dtype), .relative_to_max = 4 * Epsilon(dtype)};
  const double units = dtype == DType::kF32 ? 32 : 1;
  const ErrorSpec scaled{.absolute = units * spec.absolute,
                         .relative_to_max = units * spec.relative_to_max};
  EXPECT_THAT(gpu_loss.Values(), IsCloseTo(loss.values(), scaled));
  EXPECT_THAT(gpu_d_hidden.Values(), IsCloseTo(d_hidden.values(), scaled));
  EXPECT_THAT(gpu_dweight.Values(), IsCloseTo(dweight.values(), scaled));
  EXPECT_EQ(gpu_d_hidden.Bits(), again_d_hidden.Bits());
  EXPECT_EQ(gpu_dweight.Bits(), again_dweight.Bits());
}

TEST(LinearCrossEntropyCudaTest, TargetsOutsideTheVocabularyAreCounted) {
  std::mt19937_64 generator = FreshGenerator();
  const auto hidden = NormalFor(DType::kF32, {4, 8}, generator);
  const auto weight = NormalFor(DType::kF32, {9, 8}, generator);
  const HostTensor<double> loss_weight({4}, {1, 0, 0.5, 1});
  const HostTensor<int32_t> targets({4}, {9, -100, -1, 8});
  const HostTensor<int64_t> before({1}, {5});
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_hidden(DType::kF32, hidden, *gpu), gpu_weight(DType::kF32, weight, *gpu),
      gpu_loss_weight(DType::kF32, loss_weight, *gpu), gpu_targets(DType::kI32, targets, *gpu),
      loss(DType::kF32, {4}, *gpu), invalid(DType::kI64, before, *gpu);
  ASSERT_THAT(LinearCrossEntropy({.hidden_TH = gpu_hidden.view(),
                                  .weight_VH = gpu_weight.view(),
                                  .targets_N = gpu_targets.view(),
                                  .loss_weight_N = gpu_loss_weight.view(),
                                  .loss_N = loss.view(),
                                  .invalid_targets_1 = invalid.view()},
                                 *gpu),
              IsOk());
  EXPECT_THAT(invalid.Values(), ::testing::ElementsAre(7));
}

INSTANTIATE_TEST_SUITE_P(Extents, LinearCrossEntropyCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
