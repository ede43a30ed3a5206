#ifndef HETERO_TRAINER_RECIPES_RECIPES_H_
#define HETERO_TRAINER_RECIPES_RECIPES_H_

// The run configurations that the binary carries.

#include <optional>
#include <string_view>
#include <vector>

namespace hetero {

// What runs when nothing is asked for.
inline constexpr std::string_view kDefaultRecipe = "fashion_tiny";

// Names, ascending.
std::vector<std::string_view> RecipeNames();

// Text format of a hetero.proto.RunConfig; nullopt for an unknown name.
std::optional<std::string_view> FindRecipe(std::string_view name);

}  // namespace hetero

#endif  // HETERO_TRAINER_RECIPES_RECIPES_H_
