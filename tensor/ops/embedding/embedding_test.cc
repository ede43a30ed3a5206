#include "hetero/tensor/ops/embedding/embedding.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kVocabulary = 12, kColumns = 5;
constexpr int32_t kRepeatedIds[] = {3, 0, 11, 3, 3, 7, 11};
constexpr int64_t kCount = std::size(kRepeatedIds);

// Over any number of shards, of which the last may have fewer rows or none, the sum of the shards'
// lookups is the whole lookup and the gradients side by side are the whole gradient.
class EmbeddingShardTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(EmbeddingShardTest, ForwardAndBackwardEqualTheLoop) {
  const auto begin = [&](int64_t shard) {
    return std::min(shard * CeilDiv(kVocabulary, GetParam()), kVocabulary);
  };
  std::mt19937_64 generator = FreshGenerator();
  const auto weight = HostTensor<float>::Normal({kVocabulary, kColumns}, generator);
  const auto d_out = HostTensor<float>::Normal({kCount, kColumns}, generator);
  const HostTensor<int32_t> ids({kCount}, {std::begin(kRepeatedIds), std::end(kRepeatedIds)});
  HostTensor<float> dweight({kVocabulary, kColumns});
  std::vector<float> sum(kCount * kColumns, 0);
  StreamWithWorkspace stream;
  for (int64_t shard = 0; shard < GetParam(); ++shard) {
    const int64_t first_row = begin(shard), rows = begin(shard + 1) - first_row;
    HostTensor<float> out({kCount, kColumns});
    ASSERT_THAT(EmbeddingForward({.weight_VH = weight.view().Rows(first_row, rows),
                                  .first_row = first_row,
                                  .vocabulary_size = kVocabulary,
                                  .ids_N = ids.view(),
                                  .out_TH = out.view()},
                                 *stream),
                IsOk());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += out[i];
    for (const bool accumulate : {false, true}) {
      ASSERT_THAT(EmbeddingBackward({.d_out_TH = d_out.view(),
                                     .first_row = first_row,
                                     .ids_N = ids.view(),
                                     .dweight_VH = dweight.view().Rows(first_row, rows),
                                     .accumulate = accumulate},
                                    *stream),
                  IsOk());
    }
  }
  std::vector<float> expected;
  std::vector<double> expected_gradient(kVocabulary * kColumns, 0);
  for (int64_t n = 0; n < kCount; ++n) {
    for (int64_t c = 0; c < kColumns; ++c) {
      expected.push_back(weight[ids[n] * kColumns + c]);
      expected_gradient[ids[n] * kColumns + c] += 2.0 * d_out[n * kColumns + c];
    }
  }
  EXPECT_EQ(sum, expected);
  EXPECT_THAT(dweight.values(), IsCloseTo(expected_gradient, {.absolute = 1e-6}));
}

INSTANTIATE_TEST_SUITE_P(Shards, EmbeddingShardTest, ::testing::Values(1, 2, 4, 5, 7));

// Two sequences of four positions, id 9 standing for an image row: ids 9 9 1 2 / 3 9 4 5.
TEST(AlignmentTest, TextAndImageRowsMeetInOneSequence) {
  const HostTensor<float> table({6, 1}, {0, 100, 200, 300, 400, 500});
  const HostTensor<float> images({3, 1}, {10, 11, 12});
  const HostTensor<int32_t> text_ids({5}, {1, 2, 3, 4, 5}), text_positions({5}, {2, 3, 4, 6, 7});
  const HostTensor<int32_t> image_positions({3}, {0, 1, 5});
  HostTensor<float> out({8, 1});
  StreamWithWorkspace stream;
  ASSERT_THAT(EmbeddingForward({.weight_VH = table.view(),
                                .ids_N = text_ids.view(),
                                .positions_N = text_positions.view(),
                                .out_TH = out.view()},
                               *stream),
              IsOk());
  ASSERT_THAT(ScatterRows(images.view(), image_positions.view(), out.view(), *stream), IsOk());
  EXPECT_THAT(out.values(), ElementsAre(10, 11, 100, 200, 300, 12, 400, 500));

  HostTensor<float> d_images({3, 1}), dweight({6, 1});
  ASSERT_THAT(GatherRows(out.view(), image_positions.view(), d_images.view(), *stream), IsOk());
  EXPECT_EQ(d_images.values(), images.values());
  ASSERT_THAT(EmbeddingBackward({.d_out_TH = out.view(),
                                 .ids_N = text_ids.view(),
                                 .positions_N = text_positions.view(),
                                 .dweight_VH = dweight.view(),
                                 .accumulate = false},
                                *stream),
              IsOk());
  EXPECT_EQ(dweight.values(), table.values());
}

TEST(AlignmentTest, RowsMoveBetweenSlicesOfColumns) {
  HostTensor<int32_t> wide({3, 4}), positions({2}, {2, 0});
  std::iota(wide.values().begin(), wide.values().end(), 0);
  HostTensor<int32_t> narrow({2, 2});
  StreamWithWorkspace stream;
  ASSERT_THAT(GatherRows(wide.view().Columns(1, 2), positions.view(), narrow.view(), *stream),
              IsOk());
  EXPECT_THAT(narrow.values(), ElementsAre(9, 10, 1, 2));
  ASSERT_THAT(ScatterRows(narrow.view(), positions.view(), wide.view().Columns(2, 2), *stream),
              IsOk());
  EXPECT_THAT(wide.values(), ElementsAre(0, 1, 1, 2, 4, 5, 6, 7, 8, 9, 9, 10));
}

TEST(EmbeddingTest, NoIdsOverwriteTheGradientWithZeros) {
  const HostTensor<float> d_out({0, kColumns});
  const HostTensor<int32_t> ids({0});
  HostTensor<float> dweight({kVocabulary, kColumns});
  StreamWithWorkspace stream;
  ASSERT_THAT(EmbeddingBackward({.d_out_TH = d_out.view(),
                                 .ids_N = ids.view(),
                                 .dweight_VH = dweight.view(),
                                 .accumulate = false},
                                *stream),
              IsOk());
  EXPECT_THAT(dweight.values(), Each(0.0f));
}

TEST(EmbeddingTest, AnIdOutsideTheVocabularyIsAnError) {
  const HostTensor<float> weight({4, 2});
  HostTensor<float> out({3, 2});
  StreamWithWorkspace stream;
  const auto lookup = [&](std::vector<int32_t> values, std::optional<int64_t> vocabulary_size) {
    const HostTensor<int32_t> ids({3}, values);
    return EmbeddingForward({.weight_VH = weight.view(),
                             .first_row = 4,
                             .vocabulary_size = vocabulary_size,
                             .ids_N = ids.view(),
                             .out_TH = out.view()},
                            *stream);
  };
  EXPECT_THAT(lookup({0, 7, 4}, std::nullopt), IsOk());
  EXPECT_THAT(
      lookup({0, 8, 4}, std::nullopt),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("token id 8 at 1; expected 0 to 7")));
  EXPECT_THAT(lookup({0, 8, 4}, 9), IsOk());
  EXPECT_THAT(lookup({-1, 8, 4}, 9), StatusIs(absl::StatusCode::kInvalidArgument,
                                              HasSubstr("token id -1 at 0; expected 0 to 8")));
}

TEST(EmbeddingErrorsTest, NameTheOperand) {
  HostTensor<float> weight({4, 2}), out({3, 2});
  HostTensor<int32_t> ids({2});
  StreamWithWorkspace stream;
  EXPECT_THAT(EmbeddingForward(
                  {.weight_VH = weight.view(), .ids_N = ids.view(), .out_TH = out.view()}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ids is i32[2]")));
}

TEST(EmbeddingShapeOnlyTest, RecordsBytes) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  void* const nowhere = reinterpret_cast<void*>(kShapeOnlyAddress);
  EXPECT_THAT(EmbeddingForward({.weight_VH = TensorView(nowhere, DType::kF32, {512, 128}),
                                .ids_N = TensorView(nowhere, DType::kI32, {384}),
                                .out_TH = TensorView(nowhere, DType::kF32, {384, 128})},
                               *stream),
              IsOk());
  EXPECT_EQ(stream->ledger().operations().at("embedding.forward").bytes, 2.0 * 384 * 128 * 4);
}

}  // namespace
}  // namespace hetero
