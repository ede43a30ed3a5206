// An encoder on ranks 0-3 feeds a language model on ranks 4-7; how do its image rows travel?

#include <vector>

#include "gtest/gtest.h"
#include "hetero/grid/grid.h"

TEST(Example, RowsOfTwoEncoderLanesReachTwoLanguageLanes) {
  using namespace hetero;  // NOLINT: an example

  const std::vector<GridSpec> specs = {
      {.name = "images", .num_ranks = 4, .tp = 2},
      {.name = "language", .num_ranks = 4, .tp = 2, .ep = 4, .rank_offset = 4}};
  const Layout layout = Layout::Make(specs, /*world_size=*/8).value();

  const Grid& images = *layout.Find("images");
  const Grid& language = *layout.Find("language");

  // Who reduces dense gradients, and who exchanges tokens, with rank 6?
  EXPECT_EQ(ToString(*language.GroupOf(Family::kDp, GlobalRank(6))), "[4, 6]");
  EXPECT_EQ(ToString(*language.GroupOf(Family::kEp, GlobalRank(6))), "[4, 5, 6, 7]");

  // Two samples of 24 tokens in one microbatch, a lane each. In the first, 16 tokens stand for rows
  // of an image: 12 of the tokens that rank 4 works on and 4 of those of rank 5.
  const std::vector<IndexRange> image = {{0, 16}};
  const std::vector<SampleRows> samples = {{.num_rows = 16, .num_tokens = 24, .runs = image},
                                           {.num_rows = 0, .num_tokens = 24}};
  const RowPlan forward = PlanOwners(LastStage(images), FirstStage(language), samples).value();
  EXPECT_EQ(SendsOf(forward, GlobalRank(1)).size(), 2u);
  EXPECT_EQ(DestinationRows(forward, GlobalRank(4)), 12);
  EXPECT_EQ(DestinationRows(forward, GlobalRank(5)), 4);

  const RowPlan backward = Inverse(forward);
  EXPECT_EQ(SendsOf(backward, GlobalRank(5)).size(), 1u);
  EXPECT_EQ(DestinationRows(backward, GlobalRank(0)), 8);
}
