#include "hetero/ckpt/plan/runs.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/ckpt/plan/box.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;

TEST(RunsTest, ExpertsOfOneStoredBoxAreOneRange) {
  const Box stored{{0, 0, 0}, {64, 1856, 2688}};
  EXPECT_THAT(RangesToRead({{32, 0, 0}, {32, 1856, 2688}}, stored, 2),
              ElementsAre(IndexRange{32 * 1856 * 2688, 319291392 / 2}));
  EXPECT_THAT(RangesToRead(stored, stored, 2), ElementsAre(IndexRange{0, 64 * 1856 * 2688}));
}

TEST(RunsTest, HalfOfTheRowsOfEachExpertAreRangesAndHalfOfTheColumnsASpan) {
  const Box fc1{{0, 0, 0}, {32, 1856, 2688}};
  const std::vector<IndexRange> rows = RangesToRead({{0, 928, 0}, {32, 928, 2688}}, fc1, 2);
  ASSERT_EQ(rows.size(), 32u);
  EXPECT_EQ(rows[1].first - rows[0].first, 1856 * 2688);
  EXPECT_EQ(rows[0].count * 2, 4988928);
  EXPECT_EQ(RangesToRead({{0, 928, 0}, {32, 929, 2688}}, {{0, 0, 0}, {32, 1857, 2688}}, 2).size(),
            1u);
  const Box fc2{{0, 0, 0}, {32, 2688, 1856}};
  EXPECT_EQ(RangesToRead({{0, 0, 928}, {32, 2688, 928}}, fc2, 2).size(), 1u);
  // Short runs are read as a span however far apart.
  EXPECT_EQ(RangesToRead({{0, 0, 0}, {32, 2688, 16}}, fc2, 2).size(), 1u);
}

TEST(RunsTest, DimsThatAreDenseOnBothSidesAreOneRun) {
  std::vector<float> memory(4 * 8);
  const TensorView whole(std::span<float>(memory), {4, 8});
  const Box all = WholeBox(std::vector<int64_t>{4, 8});
  EXPECT_THAT(RunsOf(all, all, all, whole), ElementsAre(RunRows{.run = 32}));
  // Columns of the dense box to a tensor of their own.
  const Box half{{0, 4}, {4, 4}};
  const TensorView own(std::span<float>(memory).first(16), {4, 1, 4});
  EXPECT_THAT(
      RunsOf(half, all, half, own),
      ElementsAre(RunRows{.dense = 4, .dense_stride = 8, .local_stride = 4, .rows = 4, .run = 4}));
}

// Copies of random regions between a dense chunk and a strided view, by runs cut at random
// places, move every element where the loop over all elements moves it.
TEST(RunsTest, RandomRegionsMoveElementByElement) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 2000; ++round) {
    const size_t rank = 1 + random() % 4;
    std::vector<int64_t> shape(rank);
    for (int64_t& size : shape) size = 1 + random() % 6;
    const auto part_of = [&](const Box& whole) {
      Box part = whole;
      for (size_t d = 0; d < rank; ++d) {
        part.size[d] = 1 + random() % whole.size[d];
        part.offset[d] += random() % (whole.size[d] - part.size[d] + 1);
      }
      return part;
    };
    const Box dense = part_of(WholeBox(shape)), piece = part_of(WholeBox(shape));
    const std::optional<Box> region = Intersect(dense, piece);
    if (!region.has_value()) continue;
    // The piece lies somewhere in a larger tensor.
    std::vector<int64_t> outer = piece.size;
    for (int64_t& size : outer) size += random() % 3;
    std::vector<float> memory(NumElements(outer), -1);
    TensorView local(memory.data(), DType::kF32, outer);
    for (size_t d = 0; d < rank; ++d) {
      local = local.Slice(static_cast<int>(d), random() % (outer[d] - piece.size[d] + 1),
                          piece.size[d]);
    }
    std::vector<float> values(NumElements(dense));
    std::iota(values.begin(), values.end(), 0.0f);

    std::vector<RunRows> parts;
    const auto middle = static_cast<int64_t>(random() % (values.size() + 1));
    for (const RunRows& rows : RunsOf(*region, dense, piece, local)) {
      AppendInside(rows, {0, middle}, parts);
      AppendInside(rows, {middle, static_cast<int64_t>(values.size()) - middle}, parts);
    }
    int64_t moved = 0;
    for (const RunRows& rows : parts) {
      for (int64_t row = 0; row < rows.rows; ++row) {
        for (int64_t i = 0; i < rows.run; ++i, ++moved) {
          static_cast<float*>(local.address())[rows.local + row * rows.local_stride + i] =
              values[rows.dense + row * rows.dense_stride + i];
        }
      }
    }
    ASSERT_EQ(moved, NumElements(*region));
    for (int64_t i = 0; i < NumElements(piece); ++i) {
      int64_t rest = i, at = 0, from = 0, stride = 1;
      bool inside = true;
      for (size_t d = rank; d-- > 0;) {
        const int64_t index = rest % piece.size[d];
        rest /= piece.size[d];
        at += index * local.stride(static_cast<int>(d));
        const int64_t in_dense = piece.offset[d] + index - dense.offset[d];
        inside = inside && in_dense >= 0 && in_dense < dense.size[d];
        from += in_dense * stride;
        stride *= dense.size[d];
      }
      ASSERT_EQ(static_cast<float*>(local.address())[at], inside ? values[from] : -1)
          << ToString(*region) << " of " << ToString(dense) << " into " << ToString(piece);
    }
  }
}

}  // namespace
}  // namespace hetero
