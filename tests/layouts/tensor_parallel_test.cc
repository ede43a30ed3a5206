// The layouts that Megatron-LM's multimodal tests train: tensor, expert, pipeline and data
// parallelism of both modules, apart and on the same ranks.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/tests/layouts/module_grids.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

// Of a model with every kind of layer and `num_experts` experts.
Curve Train(const ModuleGrids& grids, int num_experts = 8, int num_steps = 5) {
  std::vector<std::string> fields = FieldsOf(grids, /*samples_per_microbatch=*/4);
  fields.push_back("global_batch_size=20");
  fields.push_back("model.language.pattern=\"MEM*E-\"");
  fields.push_back("model.language.mamba.num_groups=4");
  fields.push_back("model.language.mlp.ffn_size=96");
  fields.push_back(absl::StrCat("model.language.experts.num_experts=", num_experts));
  fields.push_back(absl::StrCat("train_steps=", num_steps));
  return TrainCurve(RecipeConfig("mock_vlm_tiny", fields), num_steps);
}

class TensorParallelTest : public testing::TestWithParam<ModuleGrids> {};

TEST_P(TensorParallelTest, TrainsLikeOneRank) {
  static const Curve& one_rank = *new Curve(Train({.colocated = true}));
  ExpectSameTraining(Train(GetParam()), one_rank);
}

INSTANTIATE_TEST_SUITE_P(
    Grids, TensorParallelTest,
    testing::Values(ModuleGrids{{.tp = 2}, {.tp = 2, .pp = 3}},
                    ModuleGrids{{.tp = 2, .pp = 2}, {.tp = 2, .pp = 2}},
                    ModuleGrids{{.tp = 2, .pp = 2}, {.dp = 4}},
                    ModuleGrids{{.dp = 4}, {.tp = 2, .pp = 2}},
                    ModuleGrids{{.tp = 2, .dp = 2}, {.tp = 2, .dp = 2, .ep = 4}},
                    ModuleGrids{
                        {.tp = 2, .dp = 4}, {.tp = 2, .dp = 4, .ep = 4}, /*colocated=*/true},
                    // On the same ranks with another tp than the encoder's, and as a pipeline.
                    ModuleGrids{{.dp = 4}, {.tp = 4, .ep = 2}, true},
                    ModuleGrids{{.tp = 4}, {.tp = 2, .dp = 2, .ep = 4}, true},
                    ModuleGrids{{.tp = 2, .dp = 2}, {.tp = 2, .pp = 2}, true}),
    [](const auto& info) { return info.param.Name(); });

// Of so many experts a token is often so near a tie that sums over other parts choose another one
// sooner or later: the first steps are compared.
TEST(TensorParallelTest, ManyExpertsOnEightRanksTrainLikeOnOne) {
  constexpr int kNumExperts = 128;
  const ModuleGrids grids = {{.tp = 2, .dp = 2}, {.tp = 2, .dp = 2, .ep = 4}};
  ExpectSameTraining(Train(grids, kNumExperts, /*num_steps=*/3),
                     Train({.colocated = true}, kNumExperts, /*num_steps=*/3));
}

}  // namespace
}  // namespace hetero
