// What no plan is made for, in words that name what would pass.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/testing/graph_plan.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(PlanTest, ChunksThatNoPipelineBearsAreRefused) {
  const auto refused = [](const Layout& layout, int64_t global, std::string_view why) {
    EXPECT_THAT(MakePlan(layout, Vision(), 8, global, {.pipeline_chunks = 2}),
                StatusIs(absl::StatusCode::kInvalidArgument, std::string(why)));
  };
  refused(Disjoint(1, 1), 16, "pipeline_chunks is 2, which needs language.pp above 1; nearest: 1");
  refused(Disjoint(1, 2, 1, 2), 24,
          "pipeline_chunks is 2, which needs a multiple of language.pp 2 microbatches a step, not "
          "3; nearest: global_batch_size 32");
  refused(
      MakeLayout(
          {{.name = "vision", .num_ranks = 2}, {.name = "language", .num_ranks = 2, .pp = 2}}, 2),
      16, "pipeline_chunks is 2, which needs modules on ranks of their own; nearest: 1");
}

TEST(PlanTest, AGlobalBatchThatDoesNotDivideNamesTheNearest) {
  EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), 8, 72, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("global batch size 72")));
  EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), 8, 70, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("64 would be")));
  EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), 8, 4, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16 would be")));
}

TEST(PlanTest, AModuleWithoutAGridIsNamed) {
  const GraphModel model({"audio", "language"},
                         {{.source = "audio", .destination = "language", .width = 8}});
  EXPECT_THAT(MakePlan(Disjoint(2, 2), model, 8, 64, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "grids[0].name is 'vision', the model has no such module, it has audio, "
                       "language; nearest: audio"));
  const GraphModel larger({"vision", "audio", "language"}, {});
  EXPECT_THAT(MakePlan(Disjoint(2, 2), larger, 8, 64, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "module audio of the model has no grid; add one of that name; nearest: "
                       "grids[2].name audio"));
}

TEST(PlanTest, AGridWithoutAModuleIsNamed) {
  EXPECT_THAT(MakePlan(Disjoint(2, 2), GraphModel({"language"}, {}), 8, 64, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "grids[0].name is 'vision', the model has no such module, it has language, "
                       "each with a grid; remove this grid"));
}

TEST(PlanTest, NumbersThatNoPlanHasAreRefused) {
  const auto refused = [](int64_t micro, int64_t global, int run_ahead, std::string_view field) {
    EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), micro, global, {run_ahead}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  for (const int64_t number : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                               std::numeric_limits<int64_t>::max()}) {
    refused(number, 64, 0, "micro_batch_size is ");
    refused(8, number, 0, "global_batch_size is ");
  }
  refused(8, 64, -1, "encoder_run_ahead is -1");
}

}  // namespace
}  // namespace hetero
