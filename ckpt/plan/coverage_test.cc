#include "hetero/ckpt/plan/coverage.h"

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// "Is a bad argument", with all these texts.
template <typename... Texts>
auto Refused(Texts... texts) {
  return StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(texts)...));
}

TEST(CoverageTest, IrregularBoxesThatTileAreGood) {
  const std::vector<int64_t> shape = {4, 8};
  EXPECT_THAT(CheckCoverage("w", shape,
                            std::vector<CoveringBox>{{{{0, 0}, {1, 8}}, "rank 0"},
                                                     {{{1, 0}, {1, 5}}, "rank 0"},
                                                     {{{1, 5}, {1, 3}}, "rank 1"},
                                                     {{{2, 0}, {2, 8}}, "rank 1"}}),
              IsOk());
}

TEST(CoverageTest, OverlapHoleAndOutsideAreThreeErrors) {
  const std::vector<int64_t> shape = {4, 8};
  const CoveringBox top{{{0, 0}, {2, 8}}, "rank 0"};
  EXPECT_THAT(CheckCoverage("w", shape, std::vector{top, {{{1, 7}, {3, 1}}, "rank 1"}}),
              Refused("overlap", "w", "[0,0]+[2,8] by rank 0", "[1,7]+[3,1] by rank 1"));
  EXPECT_THAT(CheckCoverage("w", shape, std::vector{top, {{{2, 0}, {2, 7}}, "rank 1"}}),
              Refused("not covered", "[2,7]+[2,1] of w", "2 of 32 elements"));
  EXPECT_THAT(CheckCoverage("w", shape, std::vector{top, {{{2, 0}, {3, 8}}, "rank 1"}}),
              Refused("out of bounds", "[2,0]+[3,8] of w by rank 1", "[4,8]"));
}

TEST(CoverageTest, AScalarIsOneElementAndAnEmptyTensorNone) {
  const std::vector<int64_t> scalar, empty = {0, 3};
  EXPECT_THAT(CheckCoverage("s", scalar, std::vector<CoveringBox>{{{}, "rank 0"}}), IsOk());
  EXPECT_THAT(CheckCoverage("s", scalar, {}), Refused("not covered"));
  EXPECT_THAT(CheckCoverage("s", scalar, std::vector<CoveringBox>{{{}, "a"}, {{}, "b"}}),
              Refused("overlap", "by a", "by b"));
  EXPECT_THAT(CheckCoverage("e", empty, {}), IsOk());
  EXPECT_THAT(CheckCoverage("e", empty, std::vector<CoveringBox>{{{{0, 0}, {0, 3}}, "a"}}), IsOk());
}

// Cuts a box in two again and again: what results tiles; without one of the parts, or with one
// twice, it does not.
TEST(CoverageTest, RandomTilingsAreGoodAndTheirDefectsAreFound) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 300; ++round) {
    std::vector<int64_t> shape(1 + random() % 4);
    for (int64_t& size : shape) size = 1 + random() % 9;
    std::vector<CoveringBox> boxes = {{WholeBox(shape), "0"}};
    for (int cut = 0; cut < 12; ++cut) {
      Box& box = boxes[random() % boxes.size()].box;
      const size_t dim = random() % shape.size();
      if (box.size[dim] < 2) continue;
      Box rest = box;
      box.size[dim] = 1 + random() % (box.size[dim] - 1);
      rest.offset[dim] += box.size[dim];
      rest.size[dim] -= box.size[dim];
      boxes.push_back({rest, "cut"});
    }
    std::ranges::shuffle(boxes, random);
    EXPECT_THAT(CheckCoverage("k", shape, boxes), IsOk());
    std::vector<CoveringBox> twice = boxes;
    twice.push_back(boxes[random() % boxes.size()]);
    EXPECT_THAT(CheckCoverage("k", shape, twice), Refused("overlap"));
    boxes.pop_back();
    EXPECT_THAT(CheckCoverage("k", shape, boxes), Refused("not covered"));
  }
}

}  // namespace
}  // namespace hetero
