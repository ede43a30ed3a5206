// Modules cut into pipeline stages train like the whole model on one rank.

#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

constexpr int kNumSteps = 5;
constexpr int kMicrobatch = 12;  // samples, over all lanes

struct Ranks {
  std::string name;
  std::string pattern = "MEM*E-";
  int encoder = 1;  // ranks
  int encoder_pp = 1;
  int language = 1;  // ranks
  int language_pp = 1;
  bool colocated = false;
  int chunks = 1;
  bool split_backward = false;
  int microbatches = 5;
};

void PrintTo(const Ranks& ranks, std::ostream* out) { *out << ranks.name; }

Curve Train(const Ranks& ranks, int run_ahead = 2) {
  const int world = ranks.colocated ? ranks.language : ranks.encoder + ranks.language;
  const int lanes = ranks.language / ranks.language_pp;
  const proto::RunConfig config = RecipeConfig(
      "mock_vlm_tiny",
      {absl::StrCat("launch=threads:", world),
       absl::StrCat("model.language.pattern=\"", ranks.pattern, "\""),
       "model.language.mlp.ffn_size=96", absl::StrCat("radio_encoder.num_ranks=", ranks.encoder),
       absl::StrCat("radio_encoder.pp=", ranks.encoder_pp),
       absl::StrCat("language.num_ranks=", ranks.language),
       absl::StrCat("language.pp=", ranks.language_pp),
       absl::StrCat("language.rank_offset=", ranks.colocated ? 0 : ranks.encoder),
       absl::StrCat("encoder_run_ahead=", run_ahead),
       absl::StrCat("micro_batch_size=", kMicrobatch / lanes),
       absl::StrCat("global_batch_size=", ranks.microbatches * kMicrobatch),
       absl::StrCat("pipeline_chunks=", ranks.chunks),
       absl::StrCat("split_backward=", ranks.split_backward ? "true" : "false"),
       absl::StrCat("train_steps=", kNumSteps)});
  return TrainCurve(config, kNumSteps);
}

class PipelineTest : public testing::TestWithParam<Ranks> {};

TEST_P(PipelineTest, TrainsLikeOneRank) {
  Ranks one = {.name = "one rank",
               .pattern = GetParam().pattern,
               .colocated = true,
               .microbatches = GetParam().microbatches};
  ExpectSameTraining(Train(GetParam()), Train(one));
}

INSTANTIATE_TEST_SUITE_P(
    Grids, PipelineTest,
    testing::Values(
        Ranks{.name = "LanguagePp3", .language = 3, .language_pp = 3},
        Ranks{.name = "LanguagePp4", .pattern = "MEM*EM-E", .language = 4, .language_pp = 4},
        Ranks{.name = "WrittenStages", .pattern = "M|EM*E-", .language = 2, .language_pp = 2},
        Ranks{.name = "EncoderPp2", .encoder = 2, .encoder_pp = 2},
        Ranks{.name = "EncoderPp2LanguagePp2",
              .encoder = 2,
              .encoder_pp = 2,
              .language = 2,
              .language_pp = 2},
        Ranks{.name = "EncoderDp4LanguagePp2", .encoder = 4, .language = 2, .language_pp = 2},
        Ranks{.name = "EncoderPp2LanguageDp4", .encoder = 2, .encoder_pp = 2, .language = 4},
        Ranks{.name = "ColocatedLanguagePp2",
              .encoder = 2,
              .language = 2,
              .language_pp = 2,
              .colocated = true},
        Ranks{.name = "ColocatedLanguagePp2Dp2",
              .encoder = 4,
              .language = 4,
              .language_pp = 2,
              .colocated = true},
        Ranks{.name = "ColocatedEncoderPp2",
              .encoder = 2,
              .encoder_pp = 2,
              .language = 2,
              .colocated = true},
        Ranks{.name = "Encoder3LanguageDp2Pp2", .encoder = 3, .language = 4, .language_pp = 2},
        Ranks{.name = "Chunks2OfLanguagePp2",
              .pattern = "MEM*EM-E",
              .language = 2,
              .language_pp = 2,
              .chunks = 2,
              .microbatches = 4},
        Ranks{.name = "Chunks2OfLanguageDp2Pp2EncoderPp2",
              .pattern = "MEM*EM-E",
              .encoder = 2,
              .encoder_pp = 2,
              .language = 4,
              .language_pp = 2,
              .chunks = 2,
              .split_backward = true,
              .microbatches = 6}),
    [](const auto& info) { return info.param.name; });

TEST(PipelinesTest, RepeatBitForBitHoweverFarTheEncoderRunsAhead) {
  for (const Ranks& ranks :
       {Ranks{.name = "pipelines", .encoder = 2, .encoder_pp = 2, .language = 3, .language_pp = 3},
        Ranks{.name = "lanes", .encoder = 3, .language = 4, .language_pp = 2}}) {
    SCOPED_TRACE(ranks.name);
    const Curve first = Train(ranks);
    EXPECT_EQ(Train(ranks), first);
    for (const int run_ahead : {0, 1, 4}) EXPECT_EQ(Train(ranks, run_ahead), first) << run_ahead;
  }
}

// Weight halves run later, on the same numbers in the same order.
TEST(PipelinesTest, ASplitBackwardTrainsTheSameBitForBit) {
  for (Ranks ranks :
       {Ranks{.name = "pipelines", .encoder = 2, .encoder_pp = 2, .language = 3, .language_pp = 3},
        Ranks{.name = "lanes", .encoder = 2, .language = 4, .language_pp = 2},
        Ranks{
            .name = "colocated", .encoder = 2, .language = 2, .language_pp = 2, .colocated = true},
        Ranks{.name = "in turns", .encoder = 2, .language = 2, .colocated = true}}) {
    SCOPED_TRACE(ranks.name);
    const Curve whole = Train(ranks);
    ranks.split_backward = true;
    for (const int run_ahead : {0, 2}) EXPECT_EQ(Train(ranks, run_ahead), whole) << run_ahead;
  }
}

}  // namespace
}  // namespace hetero
