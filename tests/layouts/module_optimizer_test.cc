// What a run sets for one module's optimizer changes that module, on every layout alike.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

constexpr int kNumSteps = 4;

using Fields = std::vector<std::string>;

// A microbatch of the run is four samples, one of each encoder rank.
Curve Train(Fields fields, bool one_rank = false) {
  const Fields layout =
      one_rank ? Fields{"launch=threads:1", "radio_encoder.num_ranks=1", "language.num_ranks=1",
                        "language.rank_offset=0", "micro_batch_size=4"}
               : Fields{"launch=threads:6", "radio_encoder.num_ranks=4", "language.num_ranks=2",
                        "language.rank_offset=4", "micro_batch_size=2"};
  fields.insert(fields.end(), layout.begin(), layout.end());
  fields.insert(fields.end(), {absl::StrCat("train_steps=", kNumSteps), "global_batch_size=4"});
  return TrainCurve(RecipeConfig("mock_vlm_tiny", fields), kNumSteps);
}

const std::string kEncoder = "optimizer.per_module[0].module=radio_encoder";

TEST(ModuleOptimizerTest, PartOfTheRanksIsCorrectedOnlyWherePartTookPart) {
  const std::string corrected = "optimizer.correct_partial_participation=true";
  EXPECT_EQ(Train({"data.mock.image_percent=100", corrected}),
            Train({"data.mock.image_percent=100"}));
  const std::string rare = "data.mock.image_percent=30";
  const Curve without = Train({rare});
  EXPECT_NE(Train({rare, corrected}), without);
  ExpectSameTraining(without, Train({rare}, /*one_rank=*/true));
}

TEST(ModuleOptimizerTest, ItsRateDecayAndClippingAreItsOwn) {
  const Fields fields = {kEncoder, "optimizer.per_module[0].learning_rate_scale=0.5",
                         "optimizer.per_module[0].weight_decay=0.5",
                         "optimizer.per_module[0].clip_share=0.01",
                         "optimizer.clip_gradient_norm=1"};
  const Curve curve = Train(fields);
  ExpectSameTraining(curve, Train(fields, /*one_rank=*/true));
  EXPECT_NE(curve.loss.back(), Train({"optimizer.clip_gradient_norm=1"}).loss.back());
}

TEST(ModuleOptimizerTest, ALineNamesItsRateAndAFrozenModuleHasNone) {
  const auto output = [](const std::string& field) {
    return RunConfigured(RecipeConfig("mock_vlm_tiny",
                                      {"train_steps=1", kEncoder,
                                       "optimizer.per_module[0].learning_rate_scale=0.5", field}))
        .output;
  };
  EXPECT_THAT(output("train_steps=1"), testing::HasSubstr(" radio_encoder learning rate: "));
  const std::string frozen = output("model.freeze_language=true");
  EXPECT_THAT(frozen, testing::Not(testing::HasSubstr("| learning rate: ")));
  EXPECT_THAT(frozen, testing::HasSubstr(" radio_encoder learning rate: "));
}

}  // namespace
}  // namespace hetero
