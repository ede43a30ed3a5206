#include "hetero/grid/layout.h"

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> Messages(const std::vector<Violation>& violations) {
  std::vector<std::string> messages;
  for (const Violation& violation : violations) messages.push_back(violation.ToString());
  return messages;
}

GridSpec Encoder(int64_t num_ranks, int64_t rank_offset = 0) {
  return {.name = "images", .num_ranks = num_ranks, .tp = 2, .rank_offset = rank_offset};
}

GridSpec Language(int64_t num_ranks, int64_t rank_offset) {
  return {.name = "language", .num_ranks = num_ranks, .tp = 2, .rank_offset = rank_offset};
}

TEST(LayoutTest, DisjointGridsGiveEachRankItsModule) {
  const std::vector<GridSpec> specs = {Encoder(4), Language(4, 4)};
  EXPECT_THAT(Validate(specs, 8), IsEmpty());
  const Layout layout = Layout::Make(specs, 8).value();
  EXPECT_EQ(layout.placement(), Placement::kNonColocated);
  EXPECT_EQ(layout.Find("language")->first_rank(), GlobalRank(4));
  EXPECT_TRUE(layout.Find("images")->Contains(GlobalRank(3)));
  EXPECT_FALSE(layout.Find("images")->Contains(GlobalRank(4)));
  EXPECT_EQ(layout.Find("sounds"), nullptr);
}

TEST(LayoutTest, EqualSpansAreColocatedAndEveryRankHasBothModules) {
  const Layout layout = Layout::Make(std::vector{Encoder(4), Language(4, 0)}, 4).value();
  EXPECT_EQ(layout.placement(), Placement::kColocated);
  for (const Grid& grid : layout.grids()) EXPECT_TRUE(grid.Contains(GlobalRank(2))) << grid.name();
}

TEST(LayoutTest, ALoneLanguageGridIsNotColocated) {
  const Layout layout = Layout::Make(std::vector{Language(4, 0)}, 4).value();
  EXPECT_EQ(layout.placement(), Placement::kNonColocated);
}

TEST(LayoutTest, NamesTheOverlapAndTheNearestOffset) {
  EXPECT_THAT(
      Messages(ValidateSpans(std::vector{Encoder(4), Language(4, 2)}, 8)),
      ElementsAre("language.rank_offset is 2: language on ranks [2, 6) overlaps images on ranks "
                  "[0, 4) at ranks [2, 4); spans must be all equal or disjoint; nearest: 4"));
}

TEST(LayoutTest, NamesTheGapTheShortfallAndTheExcess) {
  EXPECT_THAT(Messages(ValidateSpans(std::vector{Encoder(2), Language(2, 4)}, 8)),
              ElementsAre("no grid covers ranks [2, 4), but language.rank_offset is 4; grids must "
                          "cover every rank; nearest: 2",
                          "the grids have 4 ranks in all, the world has 8; nearest: "
                          "language.num_ranks 6 or world_size 4"));
  EXPECT_THAT(Messages(ValidateSpans(std::vector{Encoder(8), Language(4, 8)}, 16)),
              ElementsAre("grids cover ranks [0, 12) of 16; nearest: language.num_ranks 8 or "
                          "world_size 12"));
  EXPECT_THAT(Messages(ValidateSpans(std::vector{Encoder(4), Language(4, 4)}, 6)),
              ElementsAre("language is on ranks [4, 8), but the world has 6 ranks; nearest: "
                          "language.num_ranks 2 or world_size 8"));
  // Ten and a half pairs of tensor-parallel ranks are none.
  EXPECT_THAT(Messages(ValidateSpans(std::vector{Encoder(4), Language(6, 4)}, 11)),
              ElementsAre("grids cover ranks [0, 10) of 11; nearest: world_size 10"));
}

// Whoever follows the advice ends with grids that stand.
TEST(LayoutTest, CorrectionsMendWhatTheyAreFor) {
  const std::vector<std::vector<GridSpec>> broken = {
      {Encoder(4), Language(6, 4)},
      {Encoder(4), Language(4, 2)},
      {Encoder(2), Language(2, 4)},
      {Encoder(3), Language(1, 3)},
      {{.name = "images", .num_ranks = 3}, {.name = "language", .num_ranks = 1, .rank_offset = 3}},
      {Encoder(int64_t{1} << 62), Language(4, int64_t{1} << 62)}};
  for (const std::vector<GridSpec>& specs : broken) {
    Violations violations;
    violations.Add(ValidateLanes(specs, "language", 8));
    violations.Add(Validate(specs, 11));
    for (const Violation& violation : violations.list()) {
      for (const Correction& correction : violation.corrections) {
        std::vector<GridSpec> mended = specs;
        int64_t world_size = 11;
        int64_t micro_batch_size = 8;
        for (const auto& [path, value] : correction) {
          int64_t number = 0;
          ASSERT_TRUE(absl::SimpleAtoi(value, &number)) << value;
          if (path == kWorldSize) world_size = number;
          if (path == "micro_batch_size") micro_batch_size = number;
          for (GridSpec& spec : mended) {
            if (path == spec.name + ".num_ranks") spec.num_ranks = number;
            if (path == spec.name + ".rank_offset") spec.rank_offset = number;
            if (path == spec.name + ".tp") spec.tp = number;
          }
        }
        Violations after;
        after.Add(ValidateLanes(mended, "language", micro_batch_size));
        after.Add(Validate(mended, world_size));
        for (const Violation& left : after.list()) {
          EXPECT_NE(left.message, violation.message) << violation.ToString();
          EXPECT_FALSE(left.field == correction[0].path && left.field == violation.field &&
                       left.corrections == violation.corrections)
              << violation.ToString() << "\n"
              << left.ToString();
        }
      }
    }
  }
}

TEST(LayoutTest, AdviceOnOffsetsAndOnTheWorldIsFollowedTogether) {
  for (const auto& [offset, world_size] : {std::pair(2, 8), {2, 12}, {6, 8}, {6, 10}, {6, 12}}) {
    std::vector<GridSpec> specs = {Encoder(4), Language(4, offset)};
    for (const Violation& violation : ValidateSpans(specs, world_size)) {
      const auto& [path, value] = violation.corrections.at(0).at(0);
      int64_t& field = path == "language.rank_offset" ? specs[1].rank_offset : specs[1].num_ranks;
      ASSERT_TRUE(absl::SimpleAtoi(value, &field)) << value;
    }
    EXPECT_THAT(Messages(ValidateSpans(specs, world_size)), IsEmpty());
  }
}

TEST(LayoutTest, AnyNumbersAtAllAreRefusedAndNotComputedWith) {
  for (const int64_t number : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                               int64_t{1} << 32, std::numeric_limits<int64_t>::max()}) {
    GridSpec encoder = Encoder(4);
    encoder.tp = number;
    encoder.cp = number;
    EXPECT_THAT(Validate(std::vector{encoder, Language(4, 4)}, 8), Not(IsEmpty())) << number;
    EXPECT_THAT(Validate(std::vector{Encoder(number, number), Language(4, 4)}, 8), Not(IsEmpty()))
        << number;
    EXPECT_THAT(Validate(std::vector{Encoder(4), Language(4, 4)}, number), Not(IsEmpty()))
        << number;
    // Passed over.
    EXPECT_THAT(ValidateLanes(std::vector{encoder, Language(4, 4)}, "language", number), IsEmpty());
  }
}

TEST(LayoutTest, LanesNeedOnlyDivideTheSamples) {
  const auto lanes = [](int64_t encoder_lanes, int64_t language_lanes, int64_t micro_batch_size) {
    return Messages(ValidateLanes(
        std::vector<GridSpec>{
            {.name = "images", .num_ranks = encoder_lanes},
            {.name = "language", .num_ranks = language_lanes, .rank_offset = encoder_lanes}},
        "language", micro_batch_size));
  };
  EXPECT_THAT(lanes(3, 2, 3), IsEmpty());
  EXPECT_THAT(lanes(2, 3, 2), IsEmpty());
  EXPECT_THAT(lanes(3, 2, 1),
              ElementsAre("images has 3 data lanes, which do not divide the 2 samples of one "
                          "microbatch (micro_batch_size 1 * 2 language lanes); nearest: "
                          "micro_batch_size 3 or images.num_ranks 2"));
}

TEST(LayoutTest, WeightShardLanesCountAsLanes) {
  GridSpec language = Language(4, 1);
  language.gtp_remat = 2;
  EXPECT_THAT(ValidateLanes(std::vector<GridSpec>{{.name = "images", .num_ranks = 2}, language},
                            "language", 1),
              IsEmpty());
}

TEST(LayoutTest, ReportsEverythingAtOnceInOrder) {
  const std::vector<GridSpec> specs = {
      {.name = "images", .num_ranks = 3},
      {.name = "images", .num_ranks = 4, .tp = 3, .rank_offset = 2},
      {.name = "language", .num_ranks = 4, .rank_offset = 6}};
  std::vector<std::string> fields;
  for (const Violation& violation : Validate(specs, 12)) fields.push_back(violation.field);
  EXPECT_THAT(fields, ElementsAre("images.rank_offset", "language.num_ranks", "grids[1].name",
                                  "images.num_ranks"));
  EXPECT_THAT(Layout::Make(specs, 12),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("grids[1].name is 'images', which an earlier grid has; names must "
                                 "differ; nearest: images_1")));
}

TEST(LayoutTest, TextSeesEveryFactor) {
  const auto text = [](const GridSpec& language) {
    return Layout::Make(std::vector{Encoder(4), language}, 8).value().ToString();
  };
  GridSpec experts = Language(4, 4);
  experts.ep = 2;
  EXPECT_EQ(text(Language(4, 4)), text(Language(4, 4)));
  EXPECT_NE(text(Language(4, 4)), text(experts));
}

}  // namespace
}  // namespace hetero
