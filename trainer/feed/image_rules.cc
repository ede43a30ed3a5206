#include "hetero/trainer/feed/image_rules.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/data/image/tiling.h"
#include "hetero/data/source.h"

namespace hetero::internal {
namespace {

using proto::RunConfig;

class Checker {
 public:
  Checker(const RunConfig& config, const InputContract& contract, const ImageFields& fields,
          DataViolations& violations)
      : config_(config), contract_(contract), fields_(fields), violations_(violations) {}

  void Run() {
    if (fields_.tiles.has_value()) {
      CheckTiles();
    } else {
      CheckPatches();
      if (fields_.thumbnails) CheckThumbnails();
    }
  }

 private:
  std::string Field(std::string_view name) const {
    return absl::StrCat(fields_.message, ".", name);
  }

  void CheckPatches() {
    const std::string min_field = Field("min_patches");
    const std::string max_field = Field("max_patches");
    const int64_t token = contract_.patches_per_token;
    const int64_t most = MostPatches(contract_);
    const int64_t fit = (config_.sequence_length() - 1) * token;
    const int64_t largest = std::min(fit, most);
    const auto unset = [&](const std::string& field, int64_t nearest, std::string_view bound) {
      violations_.Advise(field, nearest, " is not set, images without tiles have at ", bound,
                         " so many patches");
    };
    if (!fields_.min_patches) unset(min_field, token, "least");
    if (!fields_.max_patches) unset(max_field, std::max(largest, token), "most");
    if (!fields_.min_patches || !fields_.max_patches) return;
    const int64_t min_patches = *fields_.min_patches;
    const int64_t max_patches = *fields_.max_patches;
    if (min_patches < token) {
      violations_.Advise(min_field, token, " is ", min_patches, ", must be at least the ", token,
                         " patches of a token");
    }
    if (min_patches > largest) {
      violations_.Advise(
          min_field, largest >= token ? std::optional(largest) : std::nullopt, " is ", min_patches,
          ", no image of so many patches fits the sequence length ", config_.sequence_length(),
          " and the model's largest side of ", contract_.max_image_side, " pixels");
    } else if (max_patches < min_patches) {
      violations_.Advise(max_field, min_patches, " is ", max_patches, ", must be at least ",
                         min_field, " ", min_patches);
    } else if (max_patches > most) {
      violations_.Advise(max_field, most, " is ", max_patches, ", must be at most ", most,
                         ", the patches of the model's largest image (max_image_side: ",
                         contract_.max_image_side, ")");
    }
  }

  void CheckThumbnails() {
    const std::string field = Field("thumbnails");
    constexpr int64_t kSide = data::kThumbnailSide;
    if (kSide % SideStep(contract_) != 0 || kSide > contract_.max_image_side) {
      violations_.Refuse(field, " is set, ", kSide, " pixels must be a multiple of ",
                         SideStep(contract_), " and no more than the model's max_image_side of ",
                         contract_.max_image_side, "; remove it");
      return;
    }
    if (!violations_.empty()) return;
    const int64_t tokens = LargestImageOf(config_, contract_).max_tokens;
    if (tokens < config_.sequence_length()) return;
    violations_.Refuse(field, " is set, an image with a thumbnail may take ", tokens,
                       " tokens, must be below sequence_length ", config_.sequence_length(),
                       "; remove it");
  }

  void RefuseBesideTiles(std::string_view name, bool is_set, std::string_view why) {
    if (!is_set) return;
    violations_.Refuse(Field(name), " is set beside ", Field("tiles"), ", ", why, "; remove it");
  }

  void CheckTiles() {
    constexpr std::string_view kPatches = "an image has the patches of its tiles";
    RefuseBesideTiles("min_patches", fields_.min_patches.has_value(), kPatches);
    RefuseBesideTiles("max_patches", fields_.max_patches.has_value(), kPatches);
    RefuseBesideTiles("thumbnails", fields_.thumbnails, "which have tiles.thumbnail");
    CheckTileSize();
    if (fields_.tiles->thumbnail() && fields_.tiles->max_tiles() == 1) {
      violations_.Refuse(Field("tiles.thumbnail"), " is set, and an image of one tile (",
                         Field("tiles.max_tiles"), " 1) has none; remove it");
    }
  }

  // A tile is a square of tokens, and a sequence holds one of them and a token of text.
  void CheckTileSize() {
    const std::string field = Field("tiles.tile_size");
    const int64_t step = SideStep(contract_);
    const int64_t side = fields_.tiles->tile_size();
    const auto fit = static_cast<int64_t>(
        std::sqrt(static_cast<double>(std::max<int64_t>(config_.sequence_length() - 1, 0))));
    const int64_t most = std::min(contract_.max_image_side / step, fit) * step;
    if (side % step == 0 && side >= step && side <= most) return;
    const std::string why =
        absl::StrCat("the model's largest side (max_image_side) is ", contract_.max_image_side,
                     " pixels, and one tile and a token of text fit sequence_length ",
                     config_.sequence_length());
    if (most < step) {
      violations_.Refuse(field, " is ", side, ", no multiple of ", step,
                         " pixels is small enough: ", why);
      return;
    }
    violations_.Advise(field, std::clamp((side + step / 2) / step * step, step, most), " is ", side,
                       ", must be a multiple of ", step, " pixels, a token's side, of at most ",
                       most, ": ", why);
  }

  const RunConfig& config_;
  const InputContract& contract_;
  const ImageFields& fields_;
  DataViolations& violations_;
};

}  // namespace

void CheckImageSizes(const RunConfig& config, const InputContract& contract,
                     const ImageFields& fields, DataViolations& violations) {
  Checker(config, contract, fields, violations).Run();
}

void CheckMostImages(const RunConfig& config, const InputContract& contract, std::string_view field,
                     int64_t count, int64_t room, int64_t views, DataViolations& violations) {
  const data::TilingOptions tiling = TilingOf(config, contract);
  if (tiling.tiles.has_value()) {
    const int64_t side = tiling.tiles->size / SideStep(contract);
    const int64_t most = room / (side * side);
    if (count <= most) return;
    violations.Advise(field, most, " is ", count, ", must be at most ", most, ": a row of ",
                      config.sequence_length(), " tokens holds no more tiles of ", side * side);
    return;
  }
  const int64_t largest = LargestImageOf(config, contract).max_tokens;
  const int64_t most = (views + room - largest) / views;
  if (count <= most) return;
  violations.Advise(field, most, " is ", count, ", must be at most ", most, ": a row of ",
                    config.sequence_length(), " tokens holds no more beside the largest of ",
                    largest);
}

}  // namespace hetero::internal
