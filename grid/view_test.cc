#include "hetero/grid/view.h"

#include <algorithm>
#include <random>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::vector<int64_t>> Values(const std::vector<Group>& groups) {
  std::vector<std::vector<int64_t>> values;
  for (const Group& group : groups) {
    values.emplace_back();
    for (const GlobalRank rank : group) values.back().push_back(rank.value());
  }
  return values;
}

GridView Make(int64_t first_rank, std::vector<AxisSize> axes) {
  return GridView::Make(GlobalRank(first_rank), std::move(axes)).value();
}

TEST(GridViewTest, GroupsOfThreeAxesOfTwo) {
  using V = std::vector<int64_t>;
  const GridView view = Make(0, {{Axis::kTp, 2}, {Axis::kCp, 2}, {Axis::kDp, 2}});
  EXPECT_THAT(Values(view.Groups(Axis::kTp)), ElementsAre(V{0, 1}, V{2, 3}, V{4, 5}, V{6, 7}));
  EXPECT_THAT(Values(view.Groups(Axis::kCp)), ElementsAre(V{0, 2}, V{1, 3}, V{4, 6}, V{5, 7}));
  EXPECT_THAT(Values(view.Groups(Axis::kDp)), ElementsAre(V{0, 4}, V{1, 5}, V{2, 6}, V{3, 7}));
  EXPECT_THAT(Values(view.Groups({Axis::kTp, Axis::kCp})),
              ElementsAre(V{0, 1, 2, 3}, V{4, 5, 6, 7}));
  EXPECT_THAT(Values(view.Groups({Axis::kDp, Axis::kTp})),
              ElementsAre(V{0, 1, 4, 5}, V{2, 3, 6, 7}));
}

TEST(GridViewTest, GroupsOf120Ranks) {
  const GridView view = Make(0, {{Axis::kTp, 2}, {Axis::kCp, 3}, {Axis::kPp, 4}, {Axis::kDp, 5}});
  EXPECT_EQ(view.Groups(Axis::kDp).size(), 24u);
  EXPECT_THAT(Values(view.Groups(Axis::kDp))[0], ElementsAre(0, 24, 48, 72, 96));
  EXPECT_THAT(Values(view.Groups(Axis::kPp))[0], ElementsAre(0, 6, 12, 18));
  EXPECT_THAT(Values(view.Groups({Axis::kCp, Axis::kDp}))[0],
              ElementsAre(0, 2, 4, 24, 26, 28, 48, 50, 52, 72, 74, 76, 96, 98, 100));
}

TEST(GridViewTest, LawsHoldForRandomShapes) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 200; ++round) {
    std::vector<Axis> order = {Axis::kTp, Axis::kGtpRemat, Axis::kCp, Axis::kDp, Axis::kPp};
    std::shuffle(order.begin(), order.end(), random);
    std::vector<AxisSize> axes;
    AxisSet chosen;
    int64_t chosen_size = 1;
    for (const Axis axis : order) {
      axes.push_back({axis, 1 + static_cast<int64_t>(random() % 4)});
      if (random() % 2 == 0) continue;
      chosen = chosen | axis;
      chosen_size *= axes.back().size;
    }
    const GridView view = Make(random() % 10, axes);
    SCOPED_TRACE(absl::StrCat(view.ToString(), " by ", chosen.ToString()));
    const std::vector<Group> groups = view.Groups(chosen);
    ASSERT_EQ(static_cast<int64_t>(groups.size()), view.num_ranks() / chosen_size);
    ASSERT_TRUE(std::is_sorted(groups.begin(), groups.end()));
    std::vector<GlobalRank> all;
    for (const Group& group : groups) {
      ASSERT_TRUE(std::is_sorted(group.begin(), group.end()));
      for (const GlobalRank rank : group) {
        all.push_back(rank);
        ASSERT_EQ(view.GroupOf(rank, chosen), group);
        for (const Axis axis : order) {
          if (chosen.Contains(axis)) continue;
          ASSERT_EQ(view.Coord(rank, axis), view.Coord(group.front(), axis));
        }
        ASSERT_EQ(view.RankAt({{order[0], view.Coord(rank, order[0])},
                               {order[1], view.Coord(rank, order[1])},
                               {order[2], view.Coord(rank, order[2])},
                               {order[3], view.Coord(rank, order[3])},
                               {order[4], view.Coord(rank, order[4])}}),
                  rank);
      }
    }
    std::sort(all.begin(), all.end());
    ASSERT_EQ(static_cast<int64_t>(all.size()), view.num_ranks());
    for (int64_t i = 0; i < view.num_ranks(); ++i) {
      ASSERT_EQ(all[static_cast<size_t>(i)].value(), view.first_rank().value() + i);
    }
  }
}

TEST(GridViewTest, RefusesBadShapesByName) {
  const auto message = [](int64_t first, std::vector<AxisSize> axes) {
    return GridView::Make(GlobalRank(first), std::move(axes)).status();
  };
  EXPECT_THAT(message(-1, {{Axis::kTp, 2}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("rank_offset is -1, must be at least 0")));
  EXPECT_THAT(
      message(0, {{Axis::kTp, 2}, {Axis::kDp, 0}}),
      StatusIs(absl::StatusCode::kInvalidArgument, "dp is 0, must be at least 1; nearest: 1"));
  EXPECT_THAT(message(0, {{Axis::kTp, 2}, {Axis::kTp, 3}}),
              StatusIs(absl::StatusCode::kInvalidArgument, "axis tp is given twice"));
}

TEST(GridViewTest, RefusesMoreRanksThanAWorldHas) {
  constexpr int64_t kLarge = int64_t{1} << 32;
  EXPECT_THAT(GridView::Make(GlobalRank(0), {{Axis::kTp, kLarge}, {Axis::kDp, kLarge}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tp is 4294967296 over 1 ranks of the axes before it; a grid has "
                                 "at most 1048576 ranks; nearest: 1048576")));
  EXPECT_THAT(GridView::Make(GlobalRank(0), {{Axis::kTp, 1024}, {Axis::kDp, 1025}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dp is 1025 over 1024")));
  EXPECT_THAT(GridView::Make(GlobalRank(kLarge), {{Axis::kTp, 2}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nearest: 1048576")));
  EXPECT_THAT(GridView::Make(GlobalRank(0), {{Axis::kTp, 1024}, {Axis::kDp, 1024}}), IsOk());
}

TEST(GridViewDeathTest, AnAxisOfTheOtherViewIsABug) {
  const GridView view = Make(0, {{Axis::kTp, 2}, {Axis::kDp, 2}});
  EXPECT_DEATH(view.Size(Axis::kEp), "'ep' is not in the view of ranks \\[0, 4\\): tp 2, dp 2");
  EXPECT_DEATH(view.Groups({Axis::kTp, Axis::kEp}), "\\{ep\\} is not in the view");
}

TEST(CheckSharedAxesTest, PipelineMustKeepItsGroups) {
  const GridView base = Make(0, {{Axis::kTp, 2}, {Axis::kCp, 1}, {Axis::kPp, 2}, {Axis::kDp, 4}});
  const auto expert = [](int64_t expt_tp, int64_t ep, int64_t pp, int64_t expt_dp) {
    return Make(
        0, {{Axis::kExptTp, expt_tp}, {Axis::kEp, ep}, {Axis::kPp, pp}, {Axis::kExptDp, expt_dp}});
  };
  EXPECT_THAT(CheckSharedAxes(base, expert(1, 2, 2, 4), Axis::kPp), IsOk());
  EXPECT_THAT(CheckSharedAxes(base, expert(1, 4, 2, 2), Axis::kPp),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("{pp} cannot be shared: group 0 is [0, 2]")));
  EXPECT_THAT(CheckSharedAxes(base, expert(1, 2, 4, 2), Axis::kPp),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be shared")));
  EXPECT_THAT(CheckSharedAxes(base, expert(1, 2, 2, 2), Axis::kPp),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("views of different ranks")));
  EXPECT_THAT(CheckSharedAxes(base, expert(1, 2, 2, 4), Axis::kEp),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("shared {ep} is not in the view of ranks [0, 16): tp 2")));
}

}  // namespace
}  // namespace hetero
