#include "hetero/trainer/step/work_classes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/testing/bare_plan.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;

WorkClasses Classes(GridSpec vision, GridSpec language, int64_t world_size) {
  vision.name = "vision";
  language.name = "language";
  const BarePlan bare = MakeBarePlan({vision, language}, {{"vision", "language"}}, world_size);
  return FindWorkClasses(bare.layout, bare.plan);
}

TEST(WorkClassesTest, DataParallelRanksOfAModuleAreOne) {
  const WorkClasses work =
      Classes({.num_ranks = 5120}, {.num_ranks = 5120, .rank_offset = 5120}, 10240);
  EXPECT_THAT(work.classes,
              ElementsAre(WorkClass{0, GlobalRank(0), 5120}, WorkClass{1, GlobalRank(5120), 5120}));
  EXPECT_EQ(work.of_rank.size(), 10240);
  EXPECT_EQ(work.of_rank[5119], 0);
  EXPECT_EQ(work.of_rank[10239], 1);
}

TEST(WorkClassesTest, EveryStageIsOne) {
  const WorkClasses work =
      Classes({.num_ranks = 4}, {.num_ranks = 6, .pp = 3, .rank_offset = 4}, 10);
  EXPECT_THAT(work.of_rank, ElementsAre(0, 0, 0, 0, 1, 1, 2, 2, 3, 3));
}

// Of 3 lanes that feed 2 the second feeds both; the 2 get the parts of it in another order.
TEST(WorkClassesTest, LanesThatShareUnequallyAreApart) {
  const WorkClasses work = Classes({.num_ranks = 6}, {.num_ranks = 4, .rank_offset = 6}, 10);
  EXPECT_THAT(work.of_rank, ElementsAre(0, 1, 0, 0, 1, 0, 2, 3, 2, 3));
}

// Tensor-parallel ranks hold other slices of their module.
TEST(WorkClassesTest, CoordinatesOnModelAxesAreApart) {
  const WorkClasses work =
      Classes({.num_ranks = 2}, {.num_ranks = 4, .tp = 2, .rank_offset = 2}, 6);
  EXPECT_THAT(work.of_rank, ElementsAre(0, 0, 1, 2, 1, 2));
}

// Four encoder lanes on the ranks of two language lanes of two stages. Rank 0 keeps its rows and
// gets those of rank 1, which sends all that it has and gets those of ranks 2 and 3.
TEST(WorkClassesTest, RowsThatStayInARankSetItApart) {
  const WorkClasses work = Classes({.num_ranks = 4}, {.num_ranks = 4, .pp = 2}, 4);
  EXPECT_THAT(work.of_rank, ElementsAre(0, 1, 2, 2));
}

}  // namespace
}  // namespace hetero
