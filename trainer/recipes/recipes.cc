#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

struct Recipe {
  std::string_view name;
  std::string_view text;
};

constexpr Recipe kRecipes[] = {
#include "trainer/recipes/recipe_table.inc"
};

}  // namespace

std::vector<std::string_view> RecipeNames() {
  std::vector<std::string_view> names;
  for (const Recipe& recipe : kRecipes) names.push_back(recipe.name);
  return names;
}

std::optional<std::string_view> FindRecipe(std::string_view name) {
  for (const Recipe& recipe : kRecipes) {
    if (recipe.name == name) return recipe.text;
  }
  return std::nullopt;
}

}  // namespace hetero
