#include "hetero/data/packing/packer.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/packing/selector.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

using Rows = std::vector<std::vector<int64_t>>;

// Texts of a data set of 55 samples in the order of Megatron-Energon 7.4, one worker; the second
// pass begins as it does there.
const std::vector<int64_t> kTexts = {
    210, 240, 211, 220, 250, 241, 242, 230, 231, 243, 200, 201, 221, 232, 251, 252, 233, 234, 253,
    244, 235, 245, 246, 254, 247, 248, 212, 202, 249, 203, 222, 236, 213, 223, 237, 224, 214, 215,
    225, 216, 238, 239, 217, 204, 226, 218, 219, 205, 206, 227, 207, 228, 208, 209, 229};
const std::vector<int64_t> kSecondPass = {240, 210, 241, 220, 230};

std::vector<PackItem> ItemsOf(const std::vector<int64_t>& texts) {
  std::vector<PackItem> items;
  for (const int64_t text : texts) items.push_back({.length = text % 7 + 1});
  return items;
}

Packer::Source From(std::vector<PackItem> items, size_t first = 0) {
  return [items = std::move(items),
          next = first]() mutable -> absl::StatusOr<std::optional<PackItem>> {
    if (next >= items.size()) return std::nullopt;
    return items[next++];
  };
}

PackerOptions Greedy(const PackLimits& limits, int64_t buffer_size, double min_fill = 0) {
  return {
      .limits = limits,
      .buffer_size = buffer_size,
      .select = [limits](std::span<const PackItem> items) { return SelectGreedy(items, limits); },
      .min_fill = min_fill};
}

std::vector<PackedGroup> All(Packer& packer) {
  std::vector<PackedGroup> rows;
  while (std::optional<PackedGroup> row = packer.Next().value()) rows.push_back(*row);
  return rows;
}

Rows TextsOf(const std::vector<PackedGroup>& rows, const std::vector<int64_t>& texts) {
  Rows result;
  for (const PackedGroup& row : rows) {
    std::vector<int64_t>& of = result.emplace_back();
    for (const PackedSample& sample : row) of.push_back(texts[sample.number]);
  }
  return result;
}

// What Megatron-Energon's packing gave with its greedy knapsack.
TEST(PackerTest, GivesTheRowsOfMegatronEnergon) {
  std::vector<int64_t> endless = kTexts;
  endless.insert(endless.end(), kSecondPass.begin(), kSecondPass.end());
  Packer first(Greedy({.length = 10}, 6), From(ItemsOf(endless)));
  Rows rows = TextsOf(All(first), endless);
  rows.resize(14);
  EXPECT_EQ(rows, (Rows{{250, 241},
                        {220, 240, 211, 210},
                        {230, 231},
                        {201},
                        {243},
                        {200, 242},
                        {251, 233},
                        {221, 234, 252},
                        {232},
                        {244, 254},
                        {235, 246, 253, 245},
                        {202, 212},
                        {249, 248, 203},
                        {247}}));

  Packer once(Greedy({.length = 10}, 6), From(ItemsOf(kTexts)));
  rows = TextsOf(All(once), kTexts);
  EXPECT_EQ(rows.size(), 28);
  EXPECT_EQ(once.state().num_samples, 55);
  rows.erase(rows.begin(), rows.end() - 4);
  EXPECT_EQ(rows, (Rows{{208, 227}, {228, 207}, {206}, {229}}));
}

// The same data set over two workers, each with a packer of its own, which take turns.
TEST(PackerTest, WorkersPackWhatEachReads) {
  const std::vector<int64_t> texts[] = {
      {210, 211, 212, 200, 220, 201, 221, 213, 222, 223, 214, 215, 224, 202,
       203, 225, 216, 217, 218, 219, 204, 226, 227, 205, 206, 207, 208, 209},
      {250, 230, 251, 240, 252, 231, 232, 228, 253, 233, 241, 234, 235, 254,
       236, 242, 243, 237, 229, 238, 244, 245, 246, 239, 247, 248, 249}};
  std::vector<Packer> workers;
  for (const auto& of : texts) workers.emplace_back(Greedy({.length = 10}, 6), From(ItemsOf(of)));
  Rows rows;
  for (int i = 0; i < 8; ++i) {
    const PackedGroup row = workers[i % 2].Next().value().value();
    rows.push_back(TextsOf({row}, texts[i % 2]).front());
  }
  EXPECT_EQ(rows, (Rows{{201, 220},
                        {251, 240},
                        {200, 212, 211},
                        {230, 231, 252},
                        {210},
                        {250},
                        {223},
                        {228, 234}}));
}

struct Case {
  int64_t buffer_size;
  double min_fill;
};

class PackerLawTest : public testing::TestWithParam<Case> {};

TEST_P(PackerLawTest, RowsHoldEverySampleOnceAndGoOnFromAnyState) {
  std::mt19937_64 random = FreshGenerator();
  const PackLimits limits = {.length = 512, .num_patches = 1000};
  const PackerOptions options = Greedy(limits, GetParam().buffer_size, GetParam().min_fill);
  std::vector<PackItem> items;
  for (int i = 0; i < 700; ++i) {
    items.push_back({.length = 1 + static_cast<int64_t>(random() % (random() % 512 + 1)),
                     .num_patches = static_cast<int64_t>(random() % 600)});
  }
  Packer packer(options, From(items));
  std::vector<PackedGroup> rows;
  std::vector<PackerState> states = {packer.state()};
  while (std::optional<PackedGroup> row = packer.Next().value()) {
    rows.push_back(*row);
    states.push_back(packer.state());
    size_t held = packer.state().reading.size();
    for (const PackedGroup& group : packer.state().selected) held += group.size();
    ASSERT_LE(held, GetParam().buffer_size);
  }
  std::vector<int> seen(items.size(), 0);
  for (const PackedGroup& row : rows) {
    int64_t length = 0, num_patches = 0;
    for (const PackedSample& sample : row) {
      ++seen[sample.number];
      EXPECT_EQ(sample.item, items[sample.number]);
      EXPECT_LE(sample.num_returns, options.max_returns);
      length += sample.item.length;
      num_patches += sample.item.num_patches;
    }
    EXPECT_LE(length, limits.length);
    EXPECT_LE(num_patches, limits.num_patches);
  }
  EXPECT_EQ(seen, std::vector<int>(items.size(), 1));
  EXPECT_EQ(packer.state().num_lost, 0);
  for (size_t k = 0; k < states.size(); k += 1 + random() % 20) {
    Packer again(options, From(items, states[k].num_samples), states[k]);
    EXPECT_EQ(All(again),
              std::vector<PackedGroup>(rows.begin() + static_cast<int64_t>(k), rows.end()))
        << "from row " << k;
    EXPECT_EQ(again.state(), packer.state());
  }
}

INSTANTIATE_TEST_SUITE_P(Buffers, PackerLawTest,
                         testing::Values(Case{1, 0}, Case{6, 0}, Case{128, 0}, Case{6, 0.98},
                                         Case{128, 0.98}, Case{1000, 0.98}));

// Lengths as of captions, documents and images: most are short, a few fill half a row and more.
TEST(PackerTest, FewPlacesStayEmptyWithTheBufferOfTheRecipe) {
  std::mt19937_64 random = FreshGenerator();
  const PackLimits limits = {.length = 8192};
  std::lognormal_distribution<double> length(6.5, 1.0);
  std::vector<PackItem> items;
  for (int i = 0; i < 20'000; ++i) {
    items.push_back(
        {.length = std::clamp<int64_t>(static_cast<int64_t>(length(random)), 16, 8192)});
  }
  Packer packer(Greedy(limits, 128, 0.98), From(items));
  while (packer.state().num_samples < 20'000) ASSERT_THAT(packer.Next(), IsOk());
  EXPECT_GE(packer.state().FillRate(limits), 0.98);
}

TEST(PackerTest, SamplesThatTheSelectorLeavesOutAreCounted) {
  PackerOptions options = Greedy({.length = 10}, 4);
  options.select = [](std::span<const PackItem> items) {
    PackGroups groups = {{}, {0}, {}};
    if (items.size() > 2) groups.push_back({2, 1});
    return groups;
  };
  Packer packer(options, From(std::vector<PackItem>(9, {.length = 1})));
  EXPECT_EQ(All(packer).size(), 5);
  EXPECT_EQ(packer.state().num_lost, 2);
}

TEST(PackerTest, ASelectorThatGivesNothingOrASampleTwiceIsAtFault) {
  const std::vector<PackItem> items(1000, {.length = 1});
  PackerOptions options = Greedy({.length = 10}, 4);
  options.select = [](std::span<const PackItem>) { return PackGroups{{}}; };
  EXPECT_THAT(Packer(options, From(items)).Next(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no group 101 times")));
  options.select = [](std::span<const PackItem>) { return PackGroups{{1}, {0, 1}}; };
  EXPECT_THAT(Packer(options, From(items)).Next(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("sample 1 of 4 twice")));
}

}  // namespace
}  // namespace hetero::data
