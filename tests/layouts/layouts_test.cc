// What is trained does not depend on where it is computed.

#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

constexpr int kNumSteps = 20;

struct Ranks {
  std::string name;
  int encoder;
  int language;
  bool colocated = false;
};

void PrintTo(const Ranks& ranks, std::ostream* out) { *out << ranks.name; }

Curve Train(const Ranks& ranks, int run_ahead = 2) {
  const int world = ranks.colocated ? ranks.language : ranks.encoder + ranks.language;
  proto::RunConfig config = RecipeConfig(
      "fashion_tiny", {absl::StrCat("launch=threads:", world),
                       absl::StrCat("radio_encoder.num_ranks=", ranks.encoder),
                       absl::StrCat("language.num_ranks=", ranks.language),
                       absl::StrCat("language.rank_offset=", ranks.colocated ? 0 : ranks.encoder),
                       absl::StrCat("encoder_run_ahead=", run_ahead),
                       absl::StrCat("train_steps=", kNumSteps), "schedule.decay_steps=600"});
  config.clear_evaluation();
  return TrainCurve(config, kNumSteps);
}

const Curve& OnOneRank() {
  static const Curve& curve = *new Curve(Train({"one rank", 1, 1, true}));
  return curve;
}

class LayoutTest : public testing::TestWithParam<Ranks> {};

TEST_P(LayoutTest, TrainsLikeOneRank) { ExpectSameTraining(Train(GetParam()), OnOneRank()); }

INSTANTIATE_TEST_SUITE_P(
    Grids, LayoutTest,
    testing::Values(Ranks{"Encoder1Language1", 1, 1}, Ranks{"Encoder2Language2", 2, 2},
                    Ranks{"Encoder1Language2", 1, 2}, Ranks{"Encoder2Language1", 2, 1},
                    Ranks{"Encoder4Language2", 4, 2}, Ranks{"Colocated2", 2, 2, true}),
    [](const auto& info) { return info.param.name; });

TEST(LayoutsTest, RepeatBitForBitWhateverTheTiming) {
  const Ranks ranks = {"2+2", 2, 2};
  const Curve first = Train(ranks);
  EXPECT_EQ(Train(ranks), first);
  EXPECT_EQ(Train(ranks, /*run_ahead=*/0), first);
}

}  // namespace
}  // namespace hetero
