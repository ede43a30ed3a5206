// Two encoders on grids of their own train like the whole model on one rank, whatever the samples
// have of each modality.

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

constexpr int kNumSteps = 5;

using Fields = std::vector<std::string>;

// Those of the recipe unless `fields` say otherwise: image pp 2, audio pp 1, language pp 4.
Curve Train(Fields fields, int run_ahead = 2) {
  fields.push_back(absl::StrCat("encoder_run_ahead=", run_ahead));
  fields.push_back(absl::StrCat("train_steps=", kNumSteps));
  return TrainCurve(RecipeConfig("mock_avlm_tiny", fields), kNumSteps);
}

Fields Joined(Fields fields, const Fields& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

const Fields& OneRank() {
  static const auto& fields = *new Fields{"launch=threads:1",      "radio_encoder.num_ranks=1",
                                          "radio_encoder.pp=1",    "audio_encoder.rank_offset=0",
                                          "language.num_ranks=1",  "language.pp=1",
                                          "language.rank_offset=0"};
  return fields;
}

struct Case {
  std::string name;
  Fields fields;
};

void PrintTo(const Case& named, std::ostream* out) { *out << named.name; }

class SamplesTest : public testing::TestWithParam<Case> {};

TEST_P(SamplesTest, TrainLikeOneRank) {
  ExpectSameTraining(Train(GetParam().fields), Train(Joined(GetParam().fields, OneRank())));
}

INSTANTIATE_TEST_SUITE_P(
    Data, SamplesTest,
    testing::Values(
        Case{.name = "Mixed", .fields = {}},
        // Of two samples a microbatch: most steps have microbatches of text alone.
        Case{.name = "Rare", .fields = {"data.mock.image_percent=5", "data.mock.clip_percent=5"}},
        Case{.name = "NoClips", .fields = {"data.mock.clip_percent=0"}},
        Case{.name = "NoImages", .fields = {"data.mock.image_percent=0"}},
        Case{.name = "TextOnly",
             .fields = {"data.mock.image_percent=0", "data.mock.clip_percent=0"}},
        Case{.name = "FrozenAudioEncoder", .fields = {"model.audio.freeze_encoder=true"}},
        Case{.name = "FrozenAudio",
             .fields = {"model.audio.freeze_encoder=true", "model.audio.freeze_projector=true"}}),
    [](const auto& info) { return info.param.name; });

// A microbatch of the run is two samples, whatever the lanes. Sums over one and over two of them
// round differently, so a token at a tie may choose another expert; without expert bias, which
// would move by the count of that one token, nobody else does.
class LayoutsTest : public testing::TestWithParam<Case> {};

TEST_P(LayoutsTest, TrainLikeOneRank) {
  const Fields even = {"model.language.experts.expert_bias_rate=0"};
  ExpectSameTraining(Train(Joined(GetParam().fields, even)), Train(Joined(OneRank(), even)));
}

INSTANTIATE_TEST_SUITE_P(
    Grids, LayoutsTest,
    testing::Values(Case{.name = "Lanes",
                         .fields = {"launch=threads:5", "radio_encoder.pp=1",
                                    "language.num_ranks=2", "language.pp=1", "micro_batch_size=1"}},
                    Case{.name = "LanesOfPipelines",
                         .fields = {"launch=threads:7", "radio_encoder.pp=1",
                                    "language.num_ranks=4", "language.pp=2", "micro_batch_size=1"}},
                    Case{.name = "AudioPp2",
                         .fields = {"launch=threads:4", "radio_encoder.num_ranks=1",
                                    "radio_encoder.pp=1", "audio_encoder.num_ranks=2",
                                    "audio_encoder.pp=2", "audio_encoder.rank_offset=1",
                                    "language.num_ranks=1", "language.pp=1"}}),
    [](const auto& info) { return info.param.name; });

TEST(EncodersTest, RepeatBitForBitHoweverFarTheyRunAhead) {
  const Curve first = Train({});
  EXPECT_EQ(Train({}), first);
  for (const int run_ahead : {0, 1, 4}) EXPECT_EQ(Train({}, run_ahead), first) << run_ahead;
}

}  // namespace
}  // namespace hetero
