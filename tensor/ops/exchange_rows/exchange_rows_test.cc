#include "hetero/tensor/ops/exchange_rows/exchange_rows.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Four experts, two on each owner, whose matrices are divided between two ranks: numbers 0 1 | 2 3
// are the first owner's experts on its two ranks.
TEST(SpreadChoicesTest, EveryRankOfAnOwnerGetsTheRow) {
  StreamWithWorkspace stream;
  const HostTensor<int32_t> experts({3, 2}, {0, 3, -1, -1, 1, 2}), counts({4}, {1, 1, 1, 1});
  HostTensor<int32_t> numbers({3, 4}), spread({8});
  ASSERT_THAT(SpreadChoices({.experts_TK = experts.view(),
                             .counts_E = counts.view(),
                             .experts_of_rank = 2,
                             .numbers_TKP = numbers.view(),
                             .counts_EP = spread.view()},
                            *stream),
              IsOk());
  EXPECT_THAT(numbers.values(), ElementsAre(0, 2, 5, 7, -1, -1, -1, -1, 1, 3, 4, 6));
  EXPECT_THAT(spread.values(), ElementsAre(1, 1, 1, 1, 1, 1, 1, 1));
}

TEST(SpreadChoicesTest, RefusesExpertsThatDoNotDivide) {
  StreamWithWorkspace stream;
  const HostTensor<int32_t> experts({1, 1}, {0}), counts({4}, {1, 0, 0, 0});
  HostTensor<int32_t> numbers({1, 2}), spread({8});
  EXPECT_THAT(SpreadChoices({.experts_TK = experts.view(),
                             .counts_E = counts.view(),
                             .experts_of_rank = 3,
                             .numbers_TKP = numbers.view(),
                             .counts_EP = spread.view()},
                            *stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("3 experts of a rank do not divide all 4")));
}

class SortReceivedRowsTest
    : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {};

// Sources x experts x rows at once.
TEST_P(SortReceivedRowsTest, IsAStableSortByExpert) {
  const auto [num_sources, num_experts, window] = GetParam();
  std::mt19937_64 random = FreshGenerator();
  StreamWithWorkspace stream;
  // The table has other ranks' experts on both sides.
  HostTensor<int32_t> table({num_sources, num_experts + 3});
  std::vector<int32_t> expert_of_row;
  for (int64_t g = 0; g < num_sources; ++g) {
    for (int64_t c = 0; c < num_experts + 3; ++c) {
      const int32_t count = static_cast<int32_t>(random() % 4);
      table[g * (num_experts + 3) + c] = count;
      if (c < 2 || c >= num_experts + 2) continue;
      expert_of_row.insert(expert_of_row.end(), static_cast<size_t>(count),
                           static_cast<int32_t>(c - 2));
    }
  }
  const int64_t total = std::ssize(expert_of_row);
  for (int64_t first = 0; first == 0 || first < total; first += window) {
    const int64_t num_rows = std::min(window, total - first);
    const auto expert = [&](int64_t row) { return expert_of_row[first + row]; };
    std::vector<int32_t> order(static_cast<size_t>(num_rows));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return expert(a) < expert(b); });
    HostTensor<int32_t> offsets({num_experts + 1}), received({num_rows}), sorted({num_rows}),
        scratch({2, num_sources * num_experts});
    ASSERT_THAT(
        SortReceivedRows({.counts_GL = ConstTensorView(table.view()).Columns(2, num_experts),
                          .first = first,
                          .offsets_L1 = offsets.view(),
                          .received_R = received.view(),
                          .sorted_R = sorted.view(),
                          .scratch_2GL = scratch.view()},
                         *stream),
        IsOk());
    EXPECT_THAT(received.values(), ::testing::ElementsAreArray(order));
    EXPECT_EQ(offsets[num_experts], num_rows);
    for (int64_t i = 0; i < num_rows; ++i) {
      EXPECT_EQ(sorted[received[i]], i);
      const int32_t e = expert(received[i]);
      EXPECT_TRUE(offsets[e] <= i && i < offsets[e + 1]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SortReceivedRowsTest,
                         ::testing::Values(std::tuple{1, 1, 100}, std::tuple{4, 3, 1000},
                                           std::tuple{4, 3, 5}, std::tuple{2, 8, 1},
                                           std::tuple{8, 2, 7}));

}  // namespace
}  // namespace hetero
