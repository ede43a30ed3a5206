// Every legal division of the small model among at most 16 ranks trains like one rank.

#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/tests/layouts/module_grids.h"

namespace hetero {
namespace {

class SweepTest : public testing::TestWithParam<ModuleGrids> {};

TEST_P(SweepTest, TrainsLikeOneRank) {
  ExpectSameTraining(TrainSweepModel(GetParam()), SweepModelOnOneRank());
}

INSTANTIATE_TEST_SUITE_P(Grids, SweepTest, testing::ValuesIn(LegalGrids()),
                         [](const auto& info) { return info.param.Name(); });

TEST(SweepTest, ARunRepeatsBitForBit) {
  const ModuleGrids grids = {.encoder = {.tp = 2, .pp = 2},
                             .language = {.tp = 2, .dp = 2, .pp = 2, .ep = 2, .expt_tp = 2}};
  EXPECT_EQ(TrainSweepModel(grids), TrainSweepModel(grids));
}

}  // namespace
}  // namespace hetero
