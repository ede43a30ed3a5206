// A few divisions of the model among ranks between which every two sizes meet: each trains like one
// rank.

#include <array>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/tests/layouts/module_grids.h"

namespace hetero {
namespace {

std::vector<ModuleGrids> Cover() {
  return {
      {{.pp = 2}, {}},
      {{.tp = 2}, {.dp = 2, .pp = 2, .expt_tp = 2}},
      {{.tp = 2, .dp = 2}, {.dp = 2, .ep = 2}},
      {{.dp = 2}, {.tp = 2}},
      {{.tp = 2, .pp = 2}, {.tp = 2, .dp = 2, .pp = 2, .ep = 2, .expt_tp = 2}},
      {{.dp = 2}, {.tp = 2, .dp = 2, .pp = 2, .ep = 4}},
      {{.tp = 2, .pp = 2}, {.tp = 4}},
      {{.dp = 2, .pp = 2}, {.tp = 4, .ep = 2, .expt_tp = 2}},
      {{.tp = 2}, {.tp = 4, .pp = 2, .ep = 4}},
      {{.pp = 2}, {.tp = 4, .dp = 2, .ep = 4, .expt_tp = 2}},
  };
}

// Two of the eight sizes of a division: which they are, and their values.
using SizePair = std::array<int64_t, 4>;

std::set<SizePair> SizePairs(const std::vector<ModuleGrids>& divisions) {
  std::set<SizePair> pairs;
  for (const auto& [encoder, language, colocated] : divisions) {
    const int64_t sizes[] = {language.tp, language.ep, language.expt_tp, language.pp,
                             language.dp, encoder.tp,  encoder.dp,       encoder.pp};
    for (int64_t i = 0; i < std::ssize(sizes); ++i) {
      for (int64_t j = 0; j < i; ++j) pairs.insert({i, sizes[i], j, sizes[j]});
    }
  }
  return pairs;
}

TEST(CoverTest, EveryTwoLegalSizesMeet) {
  EXPECT_EQ(SizePairs(Cover()), SizePairs(LegalGrids()));
  for (const ModuleGrids& grids : Cover()) EXPECT_THAT(LegalGrids(), testing::Contains(grids));
}

class SweepTest : public testing::TestWithParam<ModuleGrids> {};

TEST_P(SweepTest, TrainsLikeOneRank) {
  ExpectSameTraining(TrainSweepModel(GetParam()), SweepModelOnOneRank());
}

INSTANTIATE_TEST_SUITE_P(Grids, SweepTest, testing::ValuesIn(Cover()),
                         [](const auto& info) { return info.param.Name(); });

TEST(SweepTest, ARunRepeatsBitForBit) {
  const ModuleGrids grids = Cover()[4];
  EXPECT_EQ(TrainSweepModel(grids), TrainSweepModel(grids));
}

}  // namespace
}  // namespace hetero
