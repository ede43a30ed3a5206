#include "hetero/ckpt/plan/distribution.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/ckpt/plan/box.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;

// The boxes of a reference test: tp 2 within dp 4, f32. `group`: global ranks of the members.
class ReferenceBoxes {
 public:
  explicit ReferenceBoxes(std::vector<int64_t> group) : group_(std::move(group)) {
    for (int64_t rank = 0; rank < 8; ++rank) Add("B", rank, 20, {rank}, rank);
    for (int64_t tp = 0; tp < 2; ++tp) {
      for (const char* key : {"TP_repl1", "TP_repl2"}) {
        Add(key, tp, 10, {tp, tp + 2, tp + 4, tp + 6}, tp);
      }
    }
    const std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
    Add("C", 0, 100, all, 0);
    Add("D", 0, 1000, all, 0);
    Add("E", 0, 100, all, 0);
  }

  // Owner, a member of the group, of each box that has one; key "C0" is C's box at 0.
  std::map<std::string, int64_t> Owners(Distribution kind) {
    const std::vector<int64_t> owners = Distribute(held_, group_.size(), kind);
    std::map<std::string, int64_t> result;
    bytes_.assign(group_.size(), 0);
    for (size_t i = 0; i < held_.size(); ++i) {
      if (owners[i] < 0) continue;
      result[held_[i].key.data() + std::to_string(held_[i].box->offset[0])] = owners[i];
      bytes_[owners[i]] += held_[i].bytes;
    }
    return result;
  }
  const std::vector<int64_t>& bytes() const { return bytes_; }

 private:
  void Add(const char* key, int64_t offset, int64_t elements, std::vector<int64_t> ranks,
           int64_t main) {
    HeldBox held{.key = key, .bytes = 4 * elements};
    for (size_t member = 0; member < group_.size(); ++member) {
      if (std::ranges::count(ranks, group_[member]) > 0) held.holders.push_back(member);
      held.has_main |= group_[member] == main;
    }
    if (held.holders.empty()) return;
    // Whether the main rank is in the group is not enough: it must hold the box.
    held.box = &boxes_.emplace_back(Box{{offset}, {elements}});
    held_.push_back(std::move(held));
  }

  std::vector<int64_t> group_;
  std::deque<Box> boxes_;
  std::vector<HeldBox> held_;
  std::vector<int64_t> bytes_;
};

TEST(DistributionTest, TheWorldSharesAsTheReferenceDoes) {
  ReferenceBoxes boxes({0, 1, 2, 3, 4, 5, 6, 7});
  for (const Distribution kind : {Distribution::kSave, Distribution::kLoad}) {
    std::map<std::string, int64_t> owners = boxes.Owners(kind);
    EXPECT_EQ(owners["TP_repl10"], 0);
    EXPECT_EQ(owners["TP_repl11"], 1);
    EXPECT_EQ(owners["TP_repl20"], 2);
    EXPECT_EQ(owners["TP_repl21"], 3);
    EXPECT_EQ(owners["C0"], 5);
    EXPECT_EQ(owners["D0"], 4);
    EXPECT_EQ(owners["E0"], 6);
    EXPECT_EQ(owners["B7"], 7);
    EXPECT_THAT(boxes.bytes(), ElementsAre(120, 120, 120, 120, 4080, 480, 480, 80));
  }
}

TEST(DistributionTest, TensorParallelGroupsShareAsTheReferenceDoes) {
  ReferenceBoxes first({0, 2, 4, 6});
  for (const Distribution kind : {Distribution::kSave, Distribution::kLoad}) {
    std::map<std::string, int64_t> owners = first.Owners(kind);
    EXPECT_EQ(owners["TP_repl10"], 3);
    EXPECT_EQ(owners["TP_repl20"], 3);
    EXPECT_EQ(owners["C0"], 1);
    EXPECT_EQ(owners["D0"], 0);
    EXPECT_EQ(owners["E0"], 2);
    EXPECT_THAT(first.bytes(), ElementsAre(4080, 480, 480, 160));
  }
  ReferenceBoxes second({1, 3, 5, 7});
  std::map<std::string, int64_t> save = second.Owners(Distribution::kSave);
  EXPECT_EQ(save["TP_repl11"], 0);
  EXPECT_EQ(save["TP_repl21"], 1);
  EXPECT_FALSE(save.contains("C0") || save.contains("D0") || save.contains("E0"));
  EXPECT_THAT(second.bytes(), ElementsAre(120, 120, 80, 80));
  std::map<std::string, int64_t> load = second.Owners(Distribution::kLoad);
  EXPECT_EQ(load["C0"], 3);
  EXPECT_EQ(load["D0"], 2);
  EXPECT_EQ(load["E0"], 0);
  EXPECT_THAT(second.bytes(), ElementsAre(520, 120, 4080, 480));
}

TEST(DistributionTest, OwnersAreHoldersInAnyOrderAndTheLoadIsEven) {
  std::mt19937_64 random = FreshGenerator();
  std::vector<Box> boxes;
  for (int64_t i = 0; i < 10000; ++i) boxes.push_back({{i}, {1}});
  std::vector<int64_t> all(64);
  for (int64_t i = 0; i < 64; ++i) all[i] = i;
  std::vector<HeldBox> held;
  int64_t total = 0, largest = 0;
  for (const Box& box : boxes) {
    const int64_t bytes = 1 + random() % 1000;
    held.push_back({.key = "k", .box = &box, .bytes = bytes, .holders = all, .has_main = true});
    total += bytes;
    largest = std::max(largest, bytes);
  }
  const std::vector<int64_t> owners = Distribute(held, 64, Distribution::kSave);
  std::vector<int64_t> bytes(64);
  std::map<int64_t, int64_t> by_box;
  for (size_t i = 0; i < held.size(); ++i) {
    bytes[owners[i]] += held[i].bytes;
    by_box[held[i].box->offset[0]] = owners[i];
  }
  EXPECT_LE(*std::ranges::max_element(bytes), total / 64 + largest);
  std::ranges::shuffle(held, random);
  const std::vector<int64_t> again = Distribute(held, 64, Distribution::kSave);
  for (size_t i = 0; i < held.size(); ++i) EXPECT_EQ(by_box[held[i].box->offset[0]], again[i]);
}

TEST(DistributionTest, AThousandRanksPlanTenThousandBoxesInASecond) {
  std::vector<Box> boxes;
  for (int64_t i = 0; i < 10000; ++i) boxes.push_back({{i}, {1}});
  std::vector<HeldBox> held;
  for (int64_t i = 0; i < 10000; ++i) {
    HeldBox box{.key = "k", .box = &boxes[i], .bytes = i, .has_main = true};
    for (int64_t rank = i % 8; rank < 1024; rank += 8) box.holders.push_back(rank);
    held.push_back(std::move(box));
  }
  const absl::Time start = absl::Now();
  const std::vector<int64_t> owners = Distribute(held, 1024, Distribution::kSave);
  // Far above what it takes, for machines that do much else.
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_EQ(std::ranges::count(owners, -1), 0);
}

TEST(DistributionTest, LargeTensorsGoToTheEmptiestFile) {
  EXPECT_THAT(DivideAmongFiles(std::vector<int64_t>{3, 8, 4, 5}, 2),
              ElementsAre(ElementsAre(1, 0), ElementsAre(3, 2)));
}

TEST(DistributionTest, ChunksAreCutAlongTheFirstDim) {
  // 2.5 GiB.
  const Box box{{7, 0}, {5 * 1024, 256 * 512}};
  const std::vector<Box> cut = CutToSize(box, 4, int64_t{1} << 30);
  ASSERT_EQ(cut.size(), 3u);
  EXPECT_EQ(cut[0], (Box{{7, 0}, {2048, 256 * 512}}));
  EXPECT_EQ(cut[2], (Box{{7 + 4096, 0}, {1024, 256 * 512}}));
  EXPECT_EQ(CutToSize(box, 4, int64_t{1} << 40).size(), 1u);
  // Rows that are too long themselves are cut too.
  EXPECT_THAT(CutToSize({{0, 0}, {2, 10}}, 4, 20),
              ElementsAre(Box{{0, 0}, {1, 5}}, Box{{0, 5}, {1, 5}}, Box{{1, 0}, {1, 5}},
                          Box{{1, 5}, {1, 5}}));
}

}  // namespace
}  // namespace hetero
