#include "hetero/tensor/ops/moe_permute/moe_permute.h"

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
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A sorted routing of t tokens to k of e experts, as the operation lays it out.
struct Routing {
  Routing(int64_t t, int64_t k, int64_t e, std::vector<int32_t> choices)
      : experts({t, k}, std::move(choices)),
        counts({e}),
        offsets({e + 1}),
        rows({t, k}),
        tokens({t * k - std::ranges::count(experts.values(), -1)}) {
    for (const int32_t expert : experts.values()) {
      if (expert >= 0) ++counts[expert];
    }
  }
  absl::Status Assign(Stream& stream) {
    return AssignExpertRows({.experts_TK = experts.view(),
                             .counts_E = counts.view(),
                             .offsets_E1 = offsets.view(),
                             .rows_TK = rows.view(),
                             .tokens_R = tokens.view()},
                            stream);
  }
  HostTensor<int32_t> experts, counts, offsets, rows, tokens;
};

std::vector<int32_t> RandomChoices(int64_t t, int64_t k, int64_t e, std::mt19937_64& random) {
  std::vector<int32_t> choices;
  std::vector<int32_t> all(e);
  std::iota(all.begin(), all.end(), 0);
  for (int64_t i = 0; i < t; ++i) {
    std::sample(all.begin(), all.end(), std::back_inserter(choices), k, random);
  }
  return choices;
}

TEST(MoePermuteTest, RowsAreSortedByExpertThenToken) {
  StreamWithWorkspace stream;
  Routing r(3, 2, 4, {0, 3, 0, 1, 1, 3});
  ASSERT_THAT(r.Assign(*stream), IsOk());
  EXPECT_THAT(r.offsets.values(), ElementsAre(0, 2, 4, 4, 6));
  EXPECT_THAT(r.tokens.values(), ElementsAre(0, 1, 1, 2, 0, 2));
  EXPECT_THAT(r.rows.values(), ElementsAre(0, 4, 1, 2, 3, 5));
}

// The second and the last token are padding.
TEST(MoePermuteTest, PaddingHasNoRows) {
  StreamWithWorkspace stream;
  Routing r(4, 2, 3, {0, 2, -1, -1, 0, 1, -1, -1});
  ASSERT_THAT(r.Assign(*stream), IsOk());
  EXPECT_THAT(r.offsets.values(), ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(r.tokens.values(), ElementsAre(0, 2, 2, 0));
  EXPECT_THAT(r.rows.values(), ElementsAre(0, 3, -1, -1, 1, 2, -1, -1));

  const HostTensor<float> rows({4, 1}, {1, 2, 4, 8}), addend({4, 1}, {100, 200, 300, 400});
  HostTensor<float> out({4, 1});
  ASSERT_THAT(SumTokenRows(rows.view(), r.rows.view(), {}, out.view(), *stream), IsOk());
  EXPECT_THAT(out.values(), ElementsAre(9, 0, 6, 0));
  ASSERT_THAT(SumTokenRows(rows.view(), r.rows.view(), addend.view(), out.view(), *stream), IsOk());
  EXPECT_THAT(out.values(), ElementsAre(109, 200, 306, 400));

  const HostTensor<float> probs({4, 2}, {.1f, .2f, 7, 7, .3f, .4f, 7, 7});
  HostTensor<float> on_rows({4}), back({4, 2});
  ASSERT_THAT(ScatterToRows(probs.view(), r.rows.view(), on_rows.view(), *stream), IsOk());
  EXPECT_THAT(on_rows.values(), ElementsAre(.1f, .3f, .4f, .2f));
  ASSERT_THAT(GatherFromRows(on_rows.view(), r.rows.view(), back.view(), *stream), IsOk());
  EXPECT_THAT(back.values(), ElementsAre(.1f, .2f, 0, 0, .3f, .4f, 0, 0));
}

class MoePermuteSweepTest
    : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t, int64_t>> {};

TEST_P(MoePermuteSweepTest, RoundTripGivesEachTokenKTimes) {
  const auto [t, k, e, h] = GetParam();
  std::mt19937_64 random = FreshGenerator();
  StreamWithWorkspace stream;
  Routing r(t, k, e, RandomChoices(t, k, e, random));
  ASSERT_THAT(r.Assign(*stream), IsOk());
  for (int64_t i = 0; i < t * k; ++i) {
    const int32_t row = r.rows[i];
    EXPECT_EQ(r.tokens[row], i / k);
    EXPECT_TRUE(row >= r.offsets[r.experts[i]] && row < r.offsets[r.experts[i] + 1]);
  }

  HostTensor<float> x({t, h + 3}), rows({t * k, h}), out({t, h});
  for (float& value : x.values()) value = static_cast<float>(random() % 1024);
  const ConstTensorView x_TH = ConstTensorView(x.view()).Columns(2, h);
  ASSERT_THAT(GatherTokenRows(x_TH, r.tokens.view(), rows.view(), *stream), IsOk());
  HostTensor<float> scattered({t * k, h});
  ASSERT_THAT(ScatterTokenRows(x_TH, r.rows.view(), scattered.view(), *stream), IsOk());
  EXPECT_EQ(scattered.values(), rows.values());
  ASSERT_THAT(SumTokenRows(rows.view(), r.rows.view(), {}, out.view(), *stream), IsOk());
  for (int64_t i = 0; i < t; ++i) {
    for (int64_t j = 0; j < h; ++j) {
      EXPECT_EQ(out[i * h + j], static_cast<float>(k) * x[i * (h + 3) + 2 + j]);
    }
  }
  ASSERT_THAT(SumTokenRows(rows.view(), r.rows.view(), out.view(), out.view(), *stream), IsOk());
  for (int64_t i = 0; i < t * h; ++i) {
    EXPECT_EQ(out[i], static_cast<float>(2 * k) * x[i / h * (h + 3) + 2 + i % h]);
  }

  const auto probs = HostTensor<double>::Normal({t, k}, random);
  HostTensor<double> on_rows({t * k}), back({t, k});
  ASSERT_THAT(ScatterToRows(probs.view(), r.rows.view(), on_rows.view(), *stream), IsOk());
  for (int64_t i = 0; i < t * k; ++i) EXPECT_EQ(on_rows[r.rows[i]], probs[i]);
  ASSERT_THAT(GatherFromRows(on_rows.view(), r.rows.view(), back.view(), *stream), IsOk());
  EXPECT_EQ(back.values(), probs.values());
}

INSTANTIATE_TEST_SUITE_P(Shapes, MoePermuteSweepTest,
                         ::testing::Values(std::tuple{0, 2, 8, 5}, std::tuple{1, 1, 1, 1},
                                           std::tuple{7, 3, 3, 65}, std::tuple{33, 2, 8, 128},
                                           std::tuple{5, 6, 19, 130}));

// Float addition does not associate: large rows that cancel show the order.
TEST(MoePermuteTest, SumsFromTheHighestExpertDown) {
  StreamWithWorkspace stream;
  Routing r(1, 3, 3, {0, 1, 2});
  ASSERT_THAT(r.Assign(*stream), IsOk());
  const HostTensor<float> rows({3, 1}, {1.0f, -1e9f, 1e9f});
  const HostTensor<float> addend({1, 1}, {0.5f});
  HostTensor<float> out({1, 1});
  ASSERT_THAT(SumTokenRows(rows.view(), r.rows.view(), addend.view(), out.view(), *stream), IsOk());
  EXPECT_EQ(out[0], 1.5f);
}

TEST(MoePermuteTest, NamesTheOperandThatDoesNotFit) {
  StreamWithWorkspace stream;
  HostTensor<float> x({4, 8}), out({7, 8});
  HostTensor<int32_t> tokens({8});
  EXPECT_THAT(GatherTokenRows(x.view(), tokens.view(), out.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("out_RH is f32[7,8]")));
}

TEST(MoePermuteTest, ShapeOnlyTouchesNothing) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  Arena arena = Arena::Counting(MemoryLabel::kActivations);
  const TensorView rows_TK = arena.Allocate(DType::kI32, {384, 2}).value();
  const TensorView tokens_R = arena.Allocate(DType::kI32, {768}).value();
  const TensorView x_TH = arena.Allocate(DType::kF32, {384, 128}).value();
  const TensorView rows_RH = arena.Allocate(DType::kF32, {768, 128}).value();
  ASSERT_THAT(AssignExpertRows({.experts_TK = rows_TK,
                                .counts_E = arena.Allocate(DType::kI32, {8}).value(),
                                .offsets_E1 = arena.Allocate(DType::kI32, {9}).value(),
                                .rows_TK = rows_TK,
                                .tokens_R = tokens_R},
                               *stream),
              IsOk());
  ASSERT_THAT(GatherTokenRows(x_TH, tokens_R, rows_RH, *stream), IsOk());
  ASSERT_THAT(SumTokenRows(rows_RH, rows_TK, {}, x_TH, *stream), IsOk());
  EXPECT_EQ(stream->ledger().operations().at("moe.gather_rows").bytes, 2.0 * 768 * 128 * 4);
}

}  // namespace
}  // namespace hetero
