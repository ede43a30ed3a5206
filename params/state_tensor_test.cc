#include "hetero/params/state_tensor.h"

#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

using testing::ElementsAre;

TEST(FlatStatesTest, ARangeIsTheEndOfARowWholeRowsAndTheBeginOfOne) {
  const ParameterSpec spec{.name = "w", .shape = {8, 5}, .dims = {{ShardAxis::kTp}, {}}};
  const Shard shard = ShardOf(spec, {.tp = {.rank = 1, .size = 2}}).value();
  std::vector<float> own(12);
  const std::vector<StateTensor> states =
      FlatStates("exp_avg.w", spec, shard, {3, 12}, TensorView(std::span(own), {12}));
  ASSERT_EQ(states.size(), 2u);
  EXPECT_EQ(states[0].name, "exp_avg.w");
  EXPECT_THAT(states[0].shape, ElementsAre(8, 5));
  EXPECT_THAT(states[0].local.dims(), ElementsAre(1, 2));
  EXPECT_THAT(states[0].boxes, ElementsAre(ShardBox{{4, 3}, {0, 0}, {1, 2}}));
  EXPECT_THAT(states[1].local.dims(), ElementsAre(2, 5));
  EXPECT_THAT(states[1].boxes, ElementsAre(ShardBox{{5, 0}, {0, 0}, {2, 5}}));
  EXPECT_EQ(states[1].local.address(), &own[2]);
}

struct FlatRange {
  std::vector<int64_t> shape;
  int64_t begin;
  int64_t end;
  std::vector<std::vector<std::vector<int64_t>>> boxes;  // first element, extent
};

std::vector<StateTensor> PiecesOf(const std::vector<int64_t>& shape, const ElementRange& range,
                                  std::vector<float>& memory) {
  const ParameterSpec spec{.name = "w", .shape = shape};
  memory.resize(range.count);
  return FlatStates("w", spec, ShardOf(spec, {}).value(), range,
                    TensorView(std::span(memory), {range.count}));
}

TEST(FlatStatesTest, RangesAreTheseBoxes) {
  const std::vector<FlatRange> cases = {
      {{4, 8}, 0, 13, {{{0, 0}, {1, 8}}, {{1, 0}, {1, 5}}}},
      {{4, 8}, 13, 32, {{{1, 5}, {1, 3}}, {{2, 0}, {2, 8}}}},
      {{4, 8}, 8, 24, {{{1, 0}, {2, 8}}}},
      {{4, 8}, 3, 5, {{{0, 3}, {1, 2}}}},
      {{2, 3, 4},
       5,
       23,
       {{{0, 1, 1}, {1, 1, 3}},
        {{0, 2, 0}, {1, 1, 4}},
        {{1, 0, 0}, {1, 2, 4}},
        {{1, 2, 0}, {1, 1, 3}}}},
      {{4, 3, 4},
       5,
       43,
       {{{0, 1, 1}, {1, 1, 3}},
        {{0, 2, 0}, {1, 1, 4}},
        {{1, 0, 0}, {2, 3, 4}},
        {{3, 0, 0}, {1, 1, 4}},
        {{3, 1, 0}, {1, 1, 3}}}},
      {{128, 2, 3}, 5, 7, {{{0, 1, 2}, {1, 1, 1}}, {{1, 0, 0}, {1, 1, 1}}}},
      {{4, 8}, 7, 7, {}}};
  for (const FlatRange& range : cases) {
    std::vector<float> memory;
    std::vector<std::vector<std::vector<int64_t>>> boxes;
    for (const StateTensor& piece :
         PiecesOf(range.shape, {range.begin, range.end - range.begin}, memory)) {
      ASSERT_EQ(piece.boxes.size(), 1u);
      boxes.push_back({piece.boxes[0].logical_begin, piece.boxes[0].extent});
    }
    EXPECT_EQ(boxes, range.boxes) << range.begin << " to " << range.end;
  }
}

// Beyond what the cases above show: never more boxes than rows that are cut, and whole ones.
TEST(FlatStatesTest, ARangeIsFewBoxes) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 20000; ++round) {
    std::vector<int64_t> shape(1 + random() % 4);
    int64_t all = 1;
    for (int64_t& size : shape) {
      size = 1 + random() % 6;
      all *= size;
    }
    const int64_t begin = random() % (all + 1), count = random() % (all - begin + 1);
    std::vector<float> memory;
    const std::vector<StateTensor> pieces = PiecesOf(shape, {begin, count}, memory);
    ASSERT_LE(pieces.size(), 2 * shape.size() - 1);
    int64_t next = begin;
    for (const StateTensor& piece : pieces) {
      int64_t first = 0, elements = 1;
      for (size_t d = 0; d < shape.size(); ++d) {
        first = first * shape[d] + piece.boxes[0].logical_begin[d];
        elements *= piece.boxes[0].extent[d];
      }
      ASSERT_EQ(first, next);
      next += elements;
    }
    ASSERT_EQ(next, begin + count);
  }
}

// Every element once, at the place that the shard says.
TEST(FlatStatesTest, PiecesOfARangeCoverItOnce) {
  std::mt19937_64 random = FreshGenerator();
  const auto draw = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  const std::vector<ParameterSpec> specs = {
      {.name = "scalar", .shape = {}},
      {.name = "norm", .shape = {7}},
      {.name = "in_proj", .shape = {24, 3}, .dims = {{ShardAxis::kTp, {{8}, {8}, {4}, {4}}}, {}}},
      {.name = "proj", .shape = {5, 8}, .dims = {{}, {ShardAxis::kTp, {{4}, {4}}}}},
      {.name = "conv", .shape = {4, 3, 2, 6}}};
  for (int round = 0; round < 500; ++round) {
    const ParameterSpec& spec = specs[round % specs.size()];
    const Shard shard = ShardOf(spec, {.tp = {.rank = draw(0, 1), .size = 2}}).value();
    int64_t held = 1, whole = 1;
    for (const int64_t dim : shard.shape) held *= dim;
    for (const int64_t dim : spec.shape) whole *= dim;
    const int64_t begin = draw(0, held);
    const ElementRange range = {begin, draw(0, held - begin)};
    // An element holds its place in the local tensor.
    std::vector<double> own(range.count);
    std::iota(own.begin(), own.end(), static_cast<double>(range.begin));
    std::vector<double> actual(whole, -1), expected(whole, -1);
    const auto visit = [&](const std::vector<int64_t>& local_shape, const ShardBox& box,
                           auto element) {
      int64_t count = 1;
      for (const int64_t extent : box.extent) count *= extent;
      for (int64_t i = 0; i < count; ++i) {
        int64_t rest = i, logical = 0, local = 0, logical_stride = 1, local_stride = 1;
        for (size_t d = spec.shape.size(); d-- > 0;) {
          const int64_t at = rest % box.extent[d];
          rest /= box.extent[d];
          logical += (box.logical_begin[d] + at) * logical_stride;
          local += (box.local_begin[d] + at) * local_stride;
          logical_stride *= spec.shape[d];
          local_stride *= local_shape[d];
        }
        element(logical, local);
      }
    };
    for (const ShardBox& box : shard.boxes) {
      visit(shard.shape, box, [&](int64_t logical, int64_t local) {
        if (local >= range.begin && local < range.end()) expected[logical] = local;
      });
    }
    for (const StateTensor& state :
         FlatStates("x", spec, shard, range, TensorView(std::span(own), {range.count}))) {
      const std::vector<int64_t> dims(state.local.dims().begin(), state.local.dims().end());
      for (const ShardBox& box : state.boxes) {
        visit(dims, box, [&](int64_t logical, int64_t local) {
          EXPECT_EQ(actual[logical], -1);
          actual[logical] = static_cast<const double*>(state.local.address())[local];
        });
      }
    }
    EXPECT_EQ(actual, expected) << spec.name << " " << range.begin << " " << range.count;
  }
}

}  // namespace
}  // namespace hetero
