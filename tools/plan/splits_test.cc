#include "hetero/tools/plan/splits.h"

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

void SetGrid(proto::GridSpec& grid, int64_t num_ranks, int64_t offset, int64_t tp, int64_t pp) {
  const std::string name = grid.name();
  grid.Clear();
  grid.set_name(name);
  grid.set_num_ranks(num_ranks);
  grid.set_rank_offset(offset);
  grid.set_tp(tp);
  grid.set_pp(pp);
}

// Every value of every axis, and the rules decide.
std::set<std::string> AllThatPass(proto::RunConfig config, int64_t num_ranks) {
  const ModelRegistry models = BuiltInModels();
  std::set<std::string> texts;
  const auto from = [&](int64_t encoder_ranks, int64_t language_ranks, int64_t offset) {
    for (int64_t code = 0; code < num_ranks * num_ranks * num_ranks * num_ranks * num_ranks;
         ++code) {
      int64_t rest = code;
      const auto next = [&] {
        const int64_t size = 1 + rest % num_ranks;
        rest /= num_ranks;
        return size;
      };
      const int64_t tp = next(), pp = next(), language_tp = next(), language_pp = next();
      SetGrid(*config.mutable_grids(0), encoder_ranks, 0, tp, pp);
      SetGrid(*config.mutable_grids(1), language_ranks, offset, language_tp, language_pp);
      config.mutable_grids(1)->set_ep(next());
      // What divides no ranks is told apart from the rest cheaply.
      if (encoder_ranks % (tp * pp) != 0 || language_ranks % (language_tp * language_pp) != 0) {
        continue;
      }
      if (Validate(config, models).empty()) texts.insert(ToText(config));
    }
  };
  for (int64_t encoder = 1; encoder < num_ranks; ++encoder) {
    from(encoder, num_ranks - encoder, encoder);
  }
  from(num_ranks, num_ranks, 0);
  return texts;
}

TEST(LegalSplitsTest, AreAllThatTheRulesAllow) {
  for (const int64_t num_ranks : {1, 2, 3, 4}) {
    proto::RunConfig recipe = RecipeConfig("mock_vlm_tiny");
    const auto splits = LegalSplits(recipe, num_ranks, BuiltInModels());
    ASSERT_THAT(splits, ::absl_testing::IsOk());
    std::set<std::string> texts, names;
    for (const RecipeSplit& split : *splits) {
      texts.insert(ToText(split.config));
      names.insert(split.name);
    }
    EXPECT_EQ(texts.size(), splits->size());
    EXPECT_EQ(names.size(), splits->size());
    recipe.set_launch(absl::StrCat("threads:", num_ranks));
    EXPECT_EQ(texts, AllThatPass(recipe, num_ranks)) << num_ranks;
  }
}

TEST(LegalSplitsTest, ReadBackAsTheyAre) {
  const ModelRegistry models = BuiltInModels();
  const auto splits = LegalSplits(RecipeConfig("fashion_tiny"), 4, models);
  ASSERT_THAT(splits, ::absl_testing::IsOk());
  for (const RecipeSplit& split : *splits) {
    const auto read = ParseRunConfig(ToText(split.config), "written");
    ASSERT_THAT(read, ::absl_testing::IsOk());
    EXPECT_EQ(ToText(*read), ToText(split.config));
    EXPECT_THAT(Validate(*read, models), ::testing::IsEmpty());
  }
}

TEST(LegalSplitsTest, SaysWhyThereIsNone) {
  EXPECT_THAT(
      LegalSplits(RecipeConfig("mock_vlm_tiny", {"global_batch_size=1"}), 7, BuiltInModels()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("7 ranks")));
}

}  // namespace
}  // namespace hetero
