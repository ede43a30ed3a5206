// Every legal division of the small model among at most 16 ranks trains like one rank. Takes an
// hour: run by hand.

#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/tests/layouts/module_grids.h"

namespace hetero {
namespace {

class WholeSweepTest : public testing::TestWithParam<ModuleGrids> {};

TEST_P(WholeSweepTest, TrainsLikeOneRank) {
  ExpectSameTraining(TrainSweepModel(GetParam()), SweepModelOnOneRank());
}

INSTANTIATE_TEST_SUITE_P(Grids, WholeSweepTest, testing::ValuesIn(LegalGrids()),
                         [](const auto& info) { return info.param.Name(); });

}  // namespace
}  // namespace hetero
