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

  // Two samples of one microbatch: 16 image rows for lane 0, none for lane 1.
  const RowPlan forward =
      PlanSliced(LastStage(images), FirstStage(language), std::vector<int64_t>{16, 0}).value();
  for (const RowTransfer& send : SendsOf(forward, GlobalRank(1))) {
    EXPECT_EQ(send.destination, GlobalRank(5));
    EXPECT_EQ(send.num_rows, 8);
  }

  const RowPlan backward = Inverse(forward);
  EXPECT_EQ(SendsOf(backward, GlobalRank(5)).size(), 1u);
  EXPECT_EQ(DestinationRows(backward, GlobalRank(0)), 16);
}
