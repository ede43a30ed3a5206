// Whether sums of gradients and gathers of parameters run beside the layers or behind them changes
// no bit, and neither do lanes that have nothing for an encoder.

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

constexpr int kNumSteps = 4;

const std::string kEvenLayers = "model.language.pattern=\"MEM*EM\"";  // for two stages

struct Case {
  std::string name;
  std::vector<std::string> fields;
};

void PrintTo(const Case& named, std::ostream* out) { *out << named.name; }

Curve Train(const Case& named, int64_t bucket_elements, bool overlap) {
  std::vector<std::string> fields = named.fields;
  fields.push_back(absl::StrCat("train_steps=", kNumSteps));
  fields.push_back(absl::StrCat("optimizer.buckets.bucket_elements=", bucket_elements));
  for (const int i : {0, 1}) {
    const auto set = [&](std::string_view field, std::string_view value) {
      fields.push_back(absl::StrCat("optimizer.per_module[", i, "].", field, "=", value));
    };
    set("module", i == 0 ? "radio_encoder" : "language");
    set("overlap_gradient_reduce", overlap ? "true" : "false");
    set("overlap_parameter_gather", overlap ? "true" : "false");
  }
  return TrainCurve(RecipeConfig("mock_vlm_tiny", fields), kNumSteps);
}

class OverlapTest : public testing::TestWithParam<Case> {};

TEST_P(OverlapTest, ChangesNoBit) {
  const Curve apart = Train(GetParam(), /*bucket_elements=*/0, /*overlap=*/true);
  EXPECT_EQ(Train(GetParam(), 0, false), apart);
  ExpectSameTraining(Train(GetParam(), 5000, true), apart);
}

INSTANTIATE_TEST_SUITE_P(
    Grids, OverlapTest,
    testing::Values(Case{"Disjoint",
                         {"launch=threads:4", "radio_encoder.num_ranks=2", "language.num_ranks=2",
                          "language.rank_offset=2"}},
                    // Of eight samples a lane one or none has an image.
                    Case{"TextOnlyLanes",
                         {"launch=threads:6", "radio_encoder.num_ranks=4", "language.num_ranks=2",
                          "language.rank_offset=4", "data.mock.image_percent=10"}},
                    Case{"Colocated",
                         {"launch=threads:2", "radio_encoder.num_ranks=2", "language.num_ranks=2",
                          "language.rank_offset=0"}},
                    Case{"ColocatedPipeline",
                         {"launch=threads:4", "radio_encoder.num_ranks=4", "language.num_ranks=4",
                          "language.pp=2", "language.rank_offset=0", "data.mock.image_percent=30",
                          kEvenLayers}},
                    Case{"TensorExpertSplit",
                         {"launch=threads:10", "radio_encoder.num_ranks=2", "radio_encoder.tp=2",
                          "language.num_ranks=8", "language.tp=2", "language.pp=2", "language.ep=2",
                          "language.rank_offset=2", "split_backward=true", kEvenLayers}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hetero
