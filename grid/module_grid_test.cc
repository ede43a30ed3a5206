#include "hetero/grid/module_grid.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

// "[0,1] [2,3]"
std::string Text(const std::vector<Group>& groups) {
  return absl::StrJoin(groups, " ", [](std::string* out, const Group& group) {
    absl::StrAppend(out, "[", absl::StrJoin(group, ","), "]");
  });
}

struct Expected {
  Family family;
  std::string groups;
};

struct Worked {
  std::string label;
  GridSpec spec;
  std::vector<Expected> expected;
};

GridSpec Language(GridSpec spec) {
  spec.name = "language";
  return spec;
}

const std::vector<Worked>& Layouts() {
  static const auto& layouts = *new std::vector<Worked>{
      {"encoder_tp2_dp2",
       {.name = "images", .num_ranks = 4, .tp = 2},
       {{Family::kTp, "[0,1] [2,3]"},
        {Family::kDp, "[0,2] [1,3]"},
        {Family::kDpCp, "[0,2] [1,3]"},
        {Family::kPp, "[0] [1] [2] [3]"},
        {Family::kCp, "[0] [1] [2] [3]"},
        {Family::kModelParallel, "[0,1] [2,3]"},
        {Family::kTpDpCp, "[0,1,2,3]"},
        {Family::kModule, "[0,1,2,3]"},
        {Family::kEp, "[0] [1] [2] [3]"},
        {Family::kTpEp, "[0] [1] [2] [3]"},
        {Family::kTpEpPp, "[0] [1] [2] [3]"},
        {Family::kExptDp, "[0,1,2,3]"},
        {Family::kWordEmbedding, "[0] [1] [2] [3]"},
        {Family::kPositionEmbedding, "[0] [1] [2] [3]"}}},
      {"tp2_dp2_ep4_at_4",
       Language({.num_ranks = 4, .tp = 2, .ep = 4, .rank_offset = 4}),
       {{Family::kTp, "[4,5] [6,7]"},
        {Family::kDp, "[4,6] [5,7]"},
        {Family::kModelParallel, "[4,5] [6,7]"},
        {Family::kTpDpCp, "[4,5,6,7]"},
        {Family::kModule, "[4,5,6,7]"},
        {Family::kEp, "[4,5,6,7]"},
        {Family::kTpEp, "[4,5,6,7]"},
        {Family::kTpEpPp, "[4,5,6,7]"},
        {Family::kExptDp, "[4] [5] [6] [7]"},
        {Family::kWordEmbedding, "[4] [5] [6] [7]"},
        {Family::kPositionEmbedding, "[4] [5] [6] [7]"}}},
      {"tp2_dp2_pp2_ep4",
       Language({.num_ranks = 8, .tp = 2, .pp = 2, .ep = 4}),
       {{Family::kTp, "[0,1] [2,3] [4,5] [6,7]"},
        {Family::kDp, "[0,2] [1,3] [4,6] [5,7]"},
        {Family::kPp, "[0,4] [1,5] [2,6] [3,7]"},
        {Family::kModelParallel, "[0,1,4,5] [2,3,6,7]"},
        {Family::kTpDpCp, "[0,1,2,3] [4,5,6,7]"},
        {Family::kEp, "[0,1,2,3] [4,5,6,7]"},
        {Family::kTpEp, "[0,1,2,3] [4,5,6,7]"},
        {Family::kExptDp, "[0] [1] [2] [3] [4] [5] [6] [7]"},
        {Family::kTpEpPp, "[0,1,2,3,4,5,6,7]"},
        {Family::kWordEmbedding, "[0,4] [1,5] [2,6] [3,7]"},
        {Family::kPositionEmbedding, "[0] [1] [2] [3]"}}},
      {"tp2_dp4_pp2_ep4",
       Language({.num_ranks = 16, .tp = 2, .pp = 2, .ep = 4}),
       {{Family::kDp, "[0,2,4,6] [1,3,5,7] [8,10,12,14] [9,11,13,15]"},
        {Family::kPp, "[0,8] [1,9] [2,10] [3,11] [4,12] [5,13] [6,14] [7,15]"},
        {Family::kEp, "[0,1,2,3] [4,5,6,7] [8,9,10,11] [12,13,14,15]"},
        {Family::kExptDp, "[0,4] [1,5] [2,6] [3,7] [8,12] [9,13] [10,14] [11,15]"},
        {Family::kTpEpPp, "[0,1,2,3,8,9,10,11] [4,5,6,7,12,13,14,15]"},
        {Family::kModelParallel, "[0,1,8,9] [2,3,10,11] [4,5,12,13] [6,7,14,15]"}}},
      {"tp4_dp2_expt_tp2_ep4",
       Language({.num_ranks = 8, .tp = 4, .ep = 4, .expt_tp = 2}),
       {{Family::kEp, "[0,2,4,6] [1,3,5,7]"},
        {Family::kExptTp, "[0,1] [2,3] [4,5] [6,7]"},
        {Family::kTpEp, "[0,1,2,3,4,5,6,7]"},
        {Family::kDp, "[0,4] [1,5] [2,6] [3,7]"}}},
      {"tp2_gtp2_ep2_expt_gtp2_at_4",
       Language({.num_ranks = 4,
                 .tp = 2,
                 .ep = 2,
                 .gtp_remat = 2,
                 .rank_offset = 4,
                 .expt_gtp_remat = 2}),
       {{Family::kTp, "[4,5] [6,7]"},
        {Family::kGtpRemat, "[4,6] [5,7]"},
        {Family::kDp, "[4] [5] [6] [7]"},
        {Family::kDpCpGtpRemat, "[4,6] [5,7]"},
        {Family::kModelParallel, "[4,5,6,7]"},
        {Family::kEp, "[4,5] [6,7]"},
        {Family::kExptGtpRemat, "[4,6] [5,7]"},
        {Family::kExptDpGtpRemat, "[4,6] [5,7]"},
        {Family::kExptDp, "[4] [5] [6] [7]"},
        {Family::kTpEpPp, "[4,5] [6,7]"},
        {Family::kTpEpPpExptGtpRemat, "[4,5,6,7]"}}},
      {"tp2_pp2_at_4",
       Language({.num_ranks = 4, .tp = 2, .pp = 2, .rank_offset = 4}),
       {{Family::kTp, "[4,5] [6,7]"},
        {Family::kPp, "[4,6] [5,7]"},
        {Family::kWordEmbedding, "[4,6] [5,7]"},
        {Family::kPositionEmbedding, "[4] [5]"}}},
      {"tp2_cp2_dp2_pp2_expt_tp2_ep2",
       Language({.num_ranks = 16, .tp = 2, .cp = 2, .pp = 2, .ep = 2, .expt_tp = 2}),
       {{Family::kCp, "[0,2] [1,3] [4,6] [5,7] [8,10] [9,11] [12,14] [13,15]"},
        {Family::kDp, "[0,4] [1,5] [2,6] [3,7] [8,12] [9,13] [10,14] [11,15]"},
        {Family::kTpCp, "[0,1,2,3] [4,5,6,7] [8,9,10,11] [12,13,14,15]"},
        {Family::kTpDpCp, "[0,1,2,3,4,5,6,7] [8,9,10,11,12,13,14,15]"},
        {Family::kEp, "[0,2] [1,3] [4,6] [5,7] [8,10] [9,11] [12,14] [13,15]"},
        {Family::kTpEp, "[0,1,2,3] [4,5,6,7] [8,9,10,11] [12,13,14,15]"}}},
  };
  return layouts;
}

class WorkedLayoutTest : public ::testing::TestWithParam<Worked> {};

INSTANTIATE_TEST_SUITE_P(Worked, WorkedLayoutTest, ::testing::ValuesIn(Layouts()),
                         [](const auto& info) { return info.param.label; });

TEST_P(WorkedLayoutTest, HasTheseGroups) {
  const Grid grid = Grid::Make(GetParam().spec).value();
  for (const auto& [family, groups] : GetParam().expected) {
    EXPECT_EQ(Text(grid.Groups(family)), groups) << FamilyName(family);
  }
}

TEST_P(WorkedLayoutTest, EveryFamilyPartitionsTheGridAndGroupOfFindsTheGroup) {
  const Grid grid = Grid::Make(GetParam().spec).value();
  std::vector<GlobalRank> ranks;
  for (int64_t i = 0; i < grid.num_ranks(); ++i) ranks.emplace_back(grid.first_rank().value() + i);
  for (int i = 0; i < kNumFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    std::vector<GlobalRank> members;
    for (const Group& group : grid.Groups(family)) {
      for (const GlobalRank rank : group) {
        members.push_back(rank);
        EXPECT_EQ(grid.GroupOf(family, rank), group) << FamilyName(family);
      }
    }
    const bool by_axes = family != Family::kWordEmbedding && family != Family::kPositionEmbedding;
    if (by_axes) {
      EXPECT_THAT(members, UnorderedElementsAreArray(ranks)) << FamilyName(family);
    }
    for (const GlobalRank rank : ranks) {
      const bool member = std::find(members.begin(), members.end(), rank) != members.end();
      EXPECT_EQ(grid.GroupOf(family, rank).has_value(), member) << FamilyName(family);
    }
    EXPECT_EQ(grid.GroupOf(family, GlobalRank(100)), std::nullopt);
  }
}

TEST_P(WorkedLayoutTest, LanesPartitionEveryStageAndExpertGroupsStayInside) {
  const Grid grid = Grid::Make(GetParam().spec).value();
  std::vector<GlobalRank> members;
  for (int64_t stage = 0; stage < grid.Size(Axis::kPp); ++stage) {
    for (int64_t lane = 0; lane < grid.num_lanes(); ++lane) {
      for (const GlobalRank rank : grid.LaneRanks(LaneId(lane), stage)) {
        members.push_back(rank);
        EXPECT_EQ(grid.LaneOf(rank), LaneId(lane));
        EXPECT_EQ(grid.Coord(rank, Axis::kPp), stage);
      }
    }
    for (const Group& group :
         grid.expert().Groups({Axis::kExptTp, Axis::kEp, Axis::kExptGtpRemat, Axis::kExptDp})) {
      EXPECT_EQ(grid.Coord(group.front(), Axis::kPp), grid.Coord(group.back(), Axis::kPp));
    }
  }
  EXPECT_EQ(static_cast<int64_t>(members.size()), grid.num_ranks());
}

TEST(GridTest, PartsOfAGroupAreConsecutiveRanksAndPartitionIt) {
  const Grid grid =
      Grid::Make(Language({.num_ranks = 16, .tp = 4, .pp = 2, .rank_offset = 4})).value();
  for (const int64_t size : {1, 2, 4}) {
    for (int64_t i = 4; i < 20; ++i) {
      const GlobalRank rank(i);
      const Group part = grid.PartOf(Family::kTp, rank, size).value();
      ASSERT_EQ(std::ssize(part), size);
      EXPECT_TRUE(RankIn(part, rank).has_value());
      for (const GlobalRank member : part) {
        EXPECT_EQ(grid.PartOf(Family::kTp, member, size), part);
        EXPECT_EQ(grid.GroupOf(Family::kTp, member), grid.GroupOf(Family::kTp, rank));
        EXPECT_EQ(grid.Coord(member, Axis::kTp) / size, grid.Coord(rank, Axis::kTp) / size);
      }
    }
  }
  EXPECT_EQ(grid.PartOf(Family::kDp, GlobalRank(9), 2), grid.GroupOf(Family::kDp, GlobalRank(9)));
  EXPECT_EQ(grid.PartOf(Family::kTp, GlobalRank(20), 2), std::nullopt);
}

TEST(GridTest, DerivesDpFromTheRest) {
  const auto sizes = [](const GridSpec& spec) {
    const Grid grid = Grid::Make(spec).value();
    return std::pair(grid.Size(Axis::kDp), grid.Size(Axis::kExptDp));
  };
  using P = std::pair<int64_t, int64_t>;
  EXPECT_EQ(sizes({.name = "m", .num_ranks = 4, .tp = 2}), P(2, 4));
  EXPECT_EQ(sizes({.name = "m", .num_ranks = 4, .tp = 2, .ep = 2, .expt_tp = 2}), P(2, 1));
  EXPECT_EQ(
      sizes({.name = "m", .num_ranks = 4, .tp = 2, .ep = 2, .gtp_remat = 2, .expt_gtp_remat = 2}),
      P(1, 1));
}

TEST(GridTest, NamesTheDivisorThatDoesNotFit) {
  const auto error = [](const GridSpec& spec) { return Grid::Make(spec).status(); };
  EXPECT_THAT(error({.name = "m", .num_ranks = 4, .tp = 3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "m.num_ranks is 4, must be a multiple of 3 (tp 3 * gtp_remat 1 * cp 1 * "
                       "pp 1) so that dp is whole; nearest: 3 or 6"));
  EXPECT_THAT(error({.name = "m", .num_ranks = 4, .ep = 3, .expt_tp = 2}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("multiple of 6 (expt_tp 2 * ep 3 * expt_gtp_remat 1 * pp 1) so "
                                 "that expt_dp is whole; nearest: 6")));
  EXPECT_THAT(error({.name = "m", .num_ranks = 8, .pp = 2, .ep = 8}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiple of 16")));
}

TEST(GridTest, ReportsEveryViolationOfASpec) {
  const std::vector<Violation> violations =
      Validate({.name = "m", .num_ranks = 0, .tp = -1, .rank_offset = -2});
  std::vector<std::string> fields;
  for (const Violation& violation : violations) fields.push_back(violation.field);
  EXPECT_THAT(fields, ElementsAre("m.num_ranks", "m.tp", "m.rank_offset"));
  EXPECT_EQ(violations[1].ToString(), "m.tp is -1, must be at least 1; nearest: 1");
  EXPECT_THAT(Validate({.name = "m", .num_ranks = 16, .tp = 2, .cp = 2, .ep = 4}), IsEmpty());
}

TEST(GridTest, SizesWhoseProductHasNoNumberAreRefused) {
  constexpr int64_t kLarge = int64_t{1} << 32;
  EXPECT_THAT(Grid::Make({.name = "m", .num_ranks = 4, .tp = kLarge, .cp = kLarge}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("m.tp is 4294967296, must be at most 1048576; nearest: 1048576")));
  EXPECT_THAT(
      Grid::Make({.name = "m", .num_ranks = 4, .tp = kMaxRanks, .cp = kMaxRanks, .pp = kMaxRanks}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("must be a multiple of more than 1048576 (tp 1048576 * gtp_remat 1 * "
                         "cp 1048576 * pp 1048576) so that dp is whole; nearest: m.tp 1")));
}

TEST(GridTest, FromViewsNeedsAllAxesAndTheSamePipelines) {
  const auto base = [] {
    return GridView::Make(GlobalRank(0), {{Axis::kTp, 2},
                                          {Axis::kGtpRemat, 1},
                                          {Axis::kCp, 1},
                                          {Axis::kPp, 2},
                                          {Axis::kDp, 4}})
        .value();
  };
  const auto expert = [](int64_t ep, int64_t expt_dp) {
    return GridView::Make(GlobalRank(0), {{Axis::kExptTp, 1},
                                          {Axis::kEp, ep},
                                          {Axis::kExptGtpRemat, 1},
                                          {Axis::kPp, 2},
                                          {Axis::kExptDp, expt_dp}})
        .value();
  };
  EXPECT_TRUE(Grid::FromViews("m", base(), expert(2, 4)).ok());
  EXPECT_THAT(Grid::FromViews("m", base(), expert(4, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("m: {pp} cannot be shared")));
  EXPECT_THAT(Grid::FromViews("m", base(), base()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("m has axes {tp, gtp_remat, cp, dp, pp}, needs {pp, expt_tp")));
}

}  // namespace
}  // namespace hetero
