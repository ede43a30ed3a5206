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
#include "hetero/tensor/ops/embedding/embedding.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// `repeats`: every second id is one and the same.
struct Extents {
  int64_t vocabulary, first_row, ids, tokens, columns, gap;
  bool repeats;

  friend void PrintTo(const Extents& e, std::ostream* out) {
    *out << e.ids << "of" << e.vocabulary << "x" << e.columns << "+" << e.gap
         << (e.repeats ? "repeated" : "");
  }
};

// One and several sort passes, runs inside a chunk, over its border and over many chunks; a shard
// without rows.
constexpr Extents kExtents[] = {
    {7, 0, 5, 9, 37, 3, false},        {512, 300, 700, 701, 128, 0, true},
    {40, 20, 3000, 3000, 24, 8, true}, {70000, 1000, 900, 950, 136, 0, false},
    {3, 0, 1030, 1030, 520, 8, false}, {16, 0, 0, 4, 8, 0, false},
    {0, 40, 300, 310, 24, 8, false}};

class EmbeddingCudaTest : public ::testing::TestWithParam<std::tuple<DType, Extents>> {};

TEST_P(EmbeddingCudaTest, EqualsTheCpuAndItself) {
  const auto [dtype, e] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  HostTensor<int32_t> ids({e.ids}), positions({e.ids});
  std::vector<int32_t> order(e.tokens);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), generator);
  for (int64_t n = 0; n < e.ids; ++n) {
    ids[n] = static_cast<int32_t>(
        e.repeats && n % 2 == 0 ? e.first_row + 1 : generator() % (e.vocabulary + e.first_row));
    positions[n] = order[n];
  }
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const auto weight = NormalFor(dtype, {e.vocabulary, e.columns + e.gap}, generator);
  const auto d_out = NormalFor(dtype, {e.tokens, e.columns + e.gap}, generator);
  auto out = NormalFor(dtype, {e.tokens, e.columns + e.gap}, generator);
  auto dweight = NormalFor(DType::kF32, {e.vocabulary, e.columns + e.gap}, generator);
  const DeviceTensor gpu_weight(dtype, weight, *gpu), gpu_d_out(dtype, d_out, *gpu),
      gpu_out(dtype, out, *gpu), gpu_dweight(DType::kF32, dweight, *gpu),
      again(DType::kF32, dweight, *gpu), gpu_ids(DType::kI32, ids, *gpu),
      gpu_positions(DType::kI32, positions, *gpu);
  const auto slice = [&](const auto& view) { return view.Columns(e.gap, e.columns); };

  const HostTensor<int64_t> none({1}, {0});
  const DeviceTensor invalid_ids(DType::kI64, none, *gpu);
  ASSERT_THAT(EmbeddingForward({.weight_VH = slice(weight.view()),
                                .first_row = e.first_row,
                                .ids_N = ids.view(),
                                .positions_N = positions.view(),
                                .out_TH = slice(out.view())},
                               *cpu),
              IsOk());
  for (const int64_t vocabulary : {e.first_row + e.vocabulary, e.first_row}) {
    ASSERT_THAT(EmbeddingForward({.weight_VH = slice(gpu_weight.view()),
                                  .first_row = e.first_row,
                                  .vocabulary_size = vocabulary,
                                  .ids_N = gpu_ids.view(),
                                  .positions_N = gpu_positions.view(),
                                  .out_TH = slice(gpu_out.view()),
                                  .invalid_ids_1 = invalid_ids.view()},
                                 *gpu),
                IsOk());
    const auto outside =
        std::ranges::count_if(ids.values(), [&](int32_t id) { return id >= vocabulary; });
    EXPECT_THAT(invalid_ids.Values(), ::testing::ElementsAre(static_cast<double>(outside)));
  }
  EXPECT_EQ(gpu_out.Values(), out.values());

  for (const bool accumulate : {true, false, true}) {
    EmbeddingBackwardArgs args{slice(d_out.view()), e.first_row,           ids.view(),
                               positions.view(),    slice(dweight.view()), accumulate};
    ASSERT_THAT(EmbeddingBackward(args, *cpu), IsOk());
    args.d_out_TH = slice(gpu_d_out.view());
    args.ids_N = gpu_ids.view();
    args.positions_N = gpu_positions.view();
    for (const TensorView& view : {gpu_dweight.view(), again.view()}) {
      args.dweight_VH = slice(view);
      ASSERT_THAT(EmbeddingBackward(args, *gpu), IsOk());
    }
    EXPECT_THAT(gpu_dweight.Values(),
                IsCloseTo(dweight.values(), {.absolute = 16 * Epsilon<float>(),
                                             .relative_to_max = 64 * Epsilon<float>()}));
    EXPECT_EQ(gpu_dweight.Bits(), again.Bits());
  }
}

TEST_P(EmbeddingCudaTest, WithoutPositionsTheIdsAreInOrder) {
  const auto [dtype, e] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  HostTensor<int32_t> ids({e.ids});
  for (int32_t& id : ids.values()) {
    id = static_cast<int32_t>(generator() % (e.vocabulary + e.first_row));
  }
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const auto d_out = NormalFor(dtype, {e.ids, e.columns}, generator);
  HostTensor<double> dweight({e.vocabulary, e.columns});
  const DeviceTensor gpu_d_out(dtype, d_out, *gpu), gpu_ids(DType::kI32, ids, *gpu),
      gpu_dweight(DType::kF32, {e.vocabulary, e.columns}, *gpu);
  ASSERT_THAT(EmbeddingBackward({.d_out_TH = d_out.view(),
                                 .first_row = e.first_row,
                                 .ids_N = ids.view(),
                                 .dweight_VH = dweight.view(),
                                 .accumulate = false},
                                *cpu),
              IsOk());
  ASSERT_THAT(EmbeddingBackward({.d_out_TH = gpu_d_out.view(),
                                 .first_row = e.first_row,
                                 .ids_N = gpu_ids.view(),
                                 .dweight_VH = gpu_dweight.view(),
                                 .accumulate = false},
                                *gpu),
              IsOk());
  EXPECT_THAT(gpu_dweight.Values(),
              IsCloseTo(dweight.values(), {.absolute = 16 * Epsilon<float>(),
                                           .relative_to_max = 64 * Epsilon<float>()}));
}

TEST_P(EmbeddingCudaTest, GatherAndScatterMoveEveryBit) {
  const auto [dtype, e] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  std::vector<int32_t> order(e.tokens);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), generator);
  const HostTensor<int32_t> positions({e.ids}, {order.begin(), order.begin() + e.ids});
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  auto sequence = NormalFor(dtype, {e.tokens, e.columns + e.gap}, generator);
  auto rows = NormalFor(dtype, {e.ids, e.columns}, generator);
  const DeviceTensor gpu_sequence(dtype, sequence, *gpu), gpu_rows(dtype, rows, *gpu),
      gpu_positions(DType::kI32, positions, *gpu), gathered(dtype, {e.ids, e.columns}, *gpu);
  const auto slice = [&](const TensorView& view) { return view.Columns(e.gap, e.columns); };
  ASSERT_THAT(ScatterRows(rows.view(), positions.view(), slice(sequence.view()), *cpu), IsOk());
  ASSERT_THAT(ScatterRows(gpu_rows.view(), gpu_positions.view(), slice(gpu_sequence.view()), *gpu),
              IsOk());
  EXPECT_EQ(gpu_sequence.Values(), sequence.values());
  ASSERT_THAT(GatherRows(slice(gpu_sequence.view()), gpu_positions.view(), gathered.view(), *gpu),
              IsOk());
  EXPECT_EQ(gathered.Values(), rows.values());
}

INSTANTIATE_TEST_SUITE_P(Extents, EmbeddingCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
