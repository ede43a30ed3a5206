#include "hetero/tools/recipes/production.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::IsEmpty;

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(ProductionTest, WhatIsCommittedIsWhatTheTableSays) {
  for (const ProductionShape& shape : ProductionShapes()) {
    EXPECT_EQ(FindRecipe(shape.name), RecipeText(shape)) << shape.name;
    EXPECT_EQ(ReadFile(absl::StrCat("trainer/recipes/slurm/", shape.name, ".sbatch")),
              SlurmScript(shape))
        << shape.name;
  }
}

// What the reference's scripts and their runs give, beside what follows from it.
struct Expected {
  std::string recipe;
  int64_t nodes;
  int64_t encoder_dp;
  int64_t language_dp;
  int64_t expert_dp;
  int64_t microbatches;
  int64_t lanes_per_encoder;
  int64_t encoder_batch;  // samples of an encoder lane in a microbatch
  int64_t steps;
};

TEST(ProductionTest, TheNumbersAreThoseOfTheReference) {
  const std::vector<Expected> table = {
      {"nemotron_20l_mock", 1, 2, 2, 1, 4, 1, 1, 10},
      {"nemotron_20l_mock_ep2", 1, 2, 2, 2, 4, 1, 1, 10},
      {"nemotron_54l_9n", 9, 8, 32, 4, 24, 4, 4, 47684},
      {"nemotron_54l_9n_gbs192", 9, 8, 32, 4, 6, 4, 4, 190735},
      {"nemotron_54l_17n", 17, 8, 64, 16, 6, 8, 8, 317892},
      {"nemotron_54l_33n", 33, 8, 128, 32, 6, 16, 16, 158946},
      {"nemotron_54l_68n", 68, 32, 256, 64, 3, 8, 8, 158946},
      {"nemotron_54l_100n", 100, 32, 384, 96, 2, 12, 12, 158946},
  };
  ASSERT_EQ(table.size(), ProductionShapes().size());
  for (const Expected& expected : table) {
    SCOPED_TRACE(expected.recipe);
    const auto config = ParseRunConfig(FindRecipe(expected.recipe).value(), expected.recipe);
    ASSERT_THAT(config, IsOk());
    EXPECT_THAT(Validate(*config, BuiltInModels()), IsEmpty());
    const absl::StatusOr<Job> job = MakeJob({.config = *config}, BuiltInModels());
    ASSERT_THAT(job, IsOk());
    const Grid& encoder = *job->layout->Find("radio_encoder");
    const Grid& language = *job->layout->Find("language");
    EXPECT_EQ(job->layout->world_size(), expected.nodes * 8);
    EXPECT_EQ(encoder.num_lanes(), expected.encoder_dp);
    EXPECT_EQ(language.num_lanes(), expected.language_dp);
    EXPECT_EQ(language.Size(Axis::kExptDp), expected.expert_dp);
    EXPECT_EQ(job->train.num_microbatches(), expected.microbatches);
    EXPECT_EQ(language.num_lanes() / encoder.num_lanes(), expected.lanes_per_encoder);
    EXPECT_EQ(job->train.batch.samples_per_microbatch / encoder.num_lanes(),
              expected.encoder_batch);
    EXPECT_EQ(job->sizes.train_steps, expected.steps);
  }
}

}  // namespace
}  // namespace hetero
