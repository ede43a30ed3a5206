#include "hetero/data/packing/selector.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::data {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Lengths = std::vector<std::vector<int64_t>>;

const std::vector<int64_t> kShort = {7, 3, 5, 2, 8, 4, 6};
const std::vector<int64_t> kLong = {3000, 1200, 8192, 500, 4096, 4096, 2500, 5692, 100, 7000};

std::vector<PackItem> Items(const std::vector<int64_t>& lengths) {
  std::vector<PackItem> items;
  for (const int64_t length : lengths) items.push_back({.length = length});
  return items;
}

// Of each group that is not empty, the lengths.
Lengths LengthsOf(const PackGroups& groups, const std::vector<int64_t>& lengths) {
  Lengths result;
  for (const std::vector<size_t>& group : groups) {
    if (group.empty()) continue;
    std::vector<int64_t>& of = result.emplace_back();
    for (const size_t place : group) of.push_back(lengths[place]);
  }
  return result;
}

TEST(SelectGreedyTest, TakesTheLongestThatFits) {
  EXPECT_EQ(LengthsOf(SelectGreedy(Items(kShort), {.length = 10}).value(), kShort),
            (Lengths{{8, 2}, {7, 3}, {6, 4}, {5}}));
  EXPECT_EQ(LengthsOf(SelectGreedy(Items(kLong), {.length = 8192}).value(), kLong),
            (Lengths{{8192}, {7000, 500, 100}, {5692, 2500}, {4096, 4096}, {3000, 1200}}));
  // Of items as long as each other the last is taken first.
  EXPECT_THAT(SelectGreedy(Items({4, 4, 4}), {.length = 8}).value(),
              ElementsAre(ElementsAre(2, 1), ElementsAre(0)));
}

TEST(SelectGreedyTest, PatchesAreBoundedToo) {
  const std::vector<PackItem> items = {{.length = 6, .num_patches = 40},
                                       {.length = 4, .num_patches = 30},
                                       {.length = 3, .num_patches = 10},
                                       {.length = 1, .num_patches = 0}};
  EXPECT_THAT(SelectGreedy(items, {.length = 10}).value(),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_THAT(SelectGreedy(items, {.length = 10, .num_patches = 50}).value(),
              ElementsAre(ElementsAre(0, 2, 3), ElementsAre(1)));
  const std::vector<PackItem> pictures(5, {.length = 1, .num_images = 2});
  EXPECT_THAT(SelectGreedy(pictures, {.length = 10, .num_images = 5}).value(),
              ElementsAre(ElementsAre(4, 3), ElementsAre(2, 1), ElementsAre(0)));
}

TEST(SelectGreedyTest, WhatNoRowHoldsIsNamed) {
  EXPECT_THAT(
      SelectGreedy(Items({3, 9000}), {.length = 8192}),
      StatusIs(
          absl::StatusCode::kInvalidArgument,
          HasSubstr("item 1 has 9000 tokens, 0 patches and 0 images; a row holds 8192, 0 and 0 ")));
  EXPECT_THAT(SelectGreedy(std::vector<PackItem>{{.length = 3, .num_patches = 9}},
                           {.length = 10, .num_patches = 8}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("3 tokens, 9 patches and 0 images; a row holds 10, 8 and 0")));
}

TEST(SelectBalancedTest, SpreadsOverTheEmptiestRows) {
  EXPECT_EQ(LengthsOf(SelectBalanced(Items(kShort), {.length = 10}, 0), kShort),
            (Lengths{{8}, {7, 2}, {6, 3}, {5, 4}}));
  EXPECT_EQ(LengthsOf(SelectBalanced(Items(kShort), {.length = 10}, 2), kShort),
            (Lengths{{8}, {7}, {6}, {5}, {4}, {3, 2}}));
  EXPECT_EQ(LengthsOf(SelectBalanced(Items(kLong), {.length = 8192}, 0), kLong),
            (Lengths{{8192}, {7000}, {5692, 1200, 100}, {4096, 3000}, {4096, 2500, 500}}));
}

TEST(SelectBalancedTest, LeavesOutWhatNoRowHoldsAndBoundsPatches) {
  EXPECT_EQ(LengthsOf(SelectBalanced(Items({9000, 5}), {.length = 8192}, 0), {9000, 5}),
            (Lengths{{5}}));
  const std::vector<PackItem> items = {{.length = 2, .num_patches = 40},
                                       {.length = 2, .num_patches = 30},
                                       {.length = 1, .num_patches = 20}};
  EXPECT_THAT(SelectBalanced(items, {.length = 10, .num_patches = 50}, 0),
              ElementsAre(ElementsAre(0), ElementsAre(1, 2)));
}

}  // namespace
}  // namespace hetero::data
