#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/fashion_mnist.h"
#include "hetero/trainer/feed/data_violations.h"
#include "hetero/trainer/feed/mock_rules.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

using proto::Data;
using proto::RunConfig;

// Ids of captions' bytes.
constexpr int64_t kNumBytes = 256;
constexpr int64_t kPhotographSide = 28;  // pixels of Fashion-MNIST

int64_t LongestLabel() {
  size_t longest = 0;
  for (std::string_view label : data::kFashionLabels) longest = std::max(longest, label.size());
  return static_cast<int64_t>(longest);
}

// Collects the rules that a configuration breaks with a model.
class Checker {
 public:
  Checker(const RunConfig& config, const InputContract& contract)
      : config_(config), contract_(contract) {}

  std::vector<Violation> Run() && {
    CheckPad();
    CheckTokenizer();
    switch (config_.data().source_case()) {
      case Data::kFashionMnist:
        CheckFashionMnist();
        break;
      case Data::kWebDataset:
        CheckWebDataset();
        break;
      case Data::kMock:
        internal::CheckMock(config_, contract_, violations_);
        break;
      case Data::SOURCE_NOT_SET:
        break;
    }
    if (config_.data().has_packing() && violations_.empty()) CheckPacking();
    return std::move(violations_).Take();
  }

 private:
  // What stands for rows of an encoder, by name.
  std::vector<std::pair<std::string_view, int64_t>> Placeholders() const {
    std::vector<std::pair<std::string_view, int64_t>> tokens;
    if (TakesImages(contract_)) tokens.emplace_back("image", contract_.image_token_id);
    if (TakesClips(contract_)) tokens.emplace_back("audio", contract_.audio_token_id);
    return tokens;
  }

  // The token nearest to `id` that is at least `least` and is no placeholder.
  std::optional<int64_t> NearestToken(int64_t id, int64_t least) const {
    const auto is_legal = [&](int64_t token) {
      return token >= least && token < contract_.vocabulary_size &&
             std::ranges::none_of(Placeholders(),
                                  [&](const auto& named) { return named.second == token; });
    };
    const int64_t inside = std::clamp(id, least, std::max(least, contract_.vocabulary_size - 1));
    for (const int64_t token : {inside, inside - 1, inside + 1, inside - 2, inside + 2}) {
      if (is_legal(token)) return token;
    }
    return std::nullopt;
  }

  // Every rule of a token that is at least `least`, which `why` says in words.
  void CheckToken(std::string_view field, int64_t id, int64_t least, std::string_view why) {
    const std::optional<int64_t> nearest = NearestToken(id, least);
    if (id < least) violations_.Advise(field, nearest, " is ", id, ", ", why);
    if (id >= contract_.vocabulary_size) {
      violations_.Advise(field, nearest, " is ", id, ", must be below the model's vocabulary of ",
                         contract_.vocabulary_size);
    }
    for (const auto& [name, token] : Placeholders()) {
      if (id == token)
        violations_.Advise(field, nearest, " is ", id, ", which is the model's ", name, " token");
    }
  }

  void CheckPad() {
    CheckToken("data.pad_token_id", config_.data().pad_token_id(), 0, "must be at least 0");
  }

  void CheckTokenizer() {
    if (!config_.data().has_tokenizer() || config_.data().has_web_dataset()) return;
    violations_.Refuse(
        "data.tokenizer",
        " is set, only the captions of data.web_dataset are read with it; remove it");
  }

  // Returns whether the model can take captioned images at all.
  bool CheckCaptions(std::string_view field, int64_t end_token_id) {
    if (!TakesImages(contract_)) {
      violations_.Refuse(
          field, " has images, the model takes none; give a model with an encoder or data.mock");
      return false;
    }
    if (config_.data().has_tokenizer()) {
      CheckToken(absl::StrCat(field, ".end_token_id"), end_token_id, 0, "must be at least 0");
      return true;
    }
    for (const auto& [name, token] : Placeholders()) {
      if (token >= kNumBytes) continue;
      violations_.Refuse(field, " writes bytes as ids below ", kNumBytes, ", the model's ", name,
                         " token is ", token, "; give a model whose ", name, " token is at least ",
                         kNumBytes);
    }
    CheckToken(absl::StrCat(field, ".end_token_id"), end_token_id, kNumBytes,
               "must not be the id of a byte");
    return true;
  }

  void CheckSide(const std::string& field, int64_t side) {
    const int64_t step = SideStep(contract_);
    const int64_t least = RoundUp<int64_t>(kPhotographSide, step);
    const int64_t most = contract_.max_image_side / step * step;
    if (side % step == 0 && side >= least && side <= most) return;
    if (least > most) {
      violations_.Refuse(field, " is ", side, " pixels; a photograph and whole patches need ",
                         least, ", the model takes images of at most ", contract_.max_image_side,
                         " a side (max_image_side); give a model that takes at least ", least);
      return;
    }
    violations_.Advise(field, std::clamp((side + step / 2) / step * step, least, most), " is ",
                       side, " pixels, must be a multiple of ", step, " from ", least, " to ", most,
                       " (the model's patches, the photograph, the model's largest side)");
  }

  void CheckFashionMnist() {
    const proto::FashionMnist& fashion = config_.data().fashion_mnist();
    if (!CheckCaptions("data.fashion_mnist", fashion.end_token_id())) return;
    int64_t most_tokens = 0;
    for (int i = 0; i < fashion.sizes_size(); ++i) {
      const std::string field = absl::StrCat("data.fashion_mnist.sizes[", i, "]");
      CheckSide(absl::StrCat(field, ".rows"), fashion.sizes(i).rows());
      CheckSide(absl::StrCat(field, ".columns"), fashion.sizes(i).columns());
      most_tokens = std::max(most_tokens, NumPatches(PixelsOf(fashion.sizes(i)), contract_) /
                                              contract_.patches_per_token);
    }
    const int64_t need = most_tokens + LongestLabel() + 1;
    if (config_.sequence_length() < need) {
      violations_.Advise("sequence_length", need, " is ", config_.sequence_length(),
                         ", must be at least ", need, " (", most_tokens,
                         " image tokens, the longest caption, an end)");
    }
  }

  void CheckWebDataset() {
    const proto::WebDataset& web = config_.data().web_dataset();
    if (!CheckCaptions("data.web_dataset", web.end_token_id())) return;
    if (web.min_patches() < contract_.patches_per_token) {
      violations_.Advise("data.web_dataset.min_patches", contract_.patches_per_token, " is ",
                         web.min_patches(), ", must be at least the ", contract_.patches_per_token,
                         " patches of a token");
    }
    const int64_t most = MostPatches(contract_);
    const int64_t fit = (config_.sequence_length() - 1) * contract_.patches_per_token;
    const int64_t largest = std::min(fit, most);
    if (web.min_patches() > largest) {
      const bool has_image = largest >= contract_.patches_per_token;
      violations_.Advise(
          "data.web_dataset.min_patches", has_image ? std::optional(largest) : std::nullopt, " is ",
          web.min_patches(), ", no image of so many patches fits the sequence length ",
          config_.sequence_length(), " and the model's largest side of ", contract_.max_image_side,
          " pixels");
    } else if (web.max_patches() < web.min_patches()) {
      violations_.Advise("data.web_dataset.max_patches", web.min_patches(), " is ",
                         web.max_patches(), ", must be at least data.web_dataset.min_patches ",
                         web.min_patches());
    } else if (web.max_patches() > most) {
      violations_.Advise("data.web_dataset.max_patches", most, " is ", web.max_patches(),
                         ", must be at most ", most,
                         ", the patches of the model's largest image (max_image_side: ",
                         contract_.max_image_side, ")");
    }
    if (config_.has_evaluation() && !web.has_evaluation()) {
      violations_.Refuse("data.web_dataset.evaluation",
                         " is not set, the run evaluates; name the folder or remove evaluation");
    }
  }

  // Precondition: all else is in order.
  void CheckPacking() {
    if (config_.data().has_mock()) {
      violations_.Refuse("data.packing",
                         " is set, samples of data.mock have a row each; remove it");
      return;
    }
    const proto::Packing& packing = config_.data().packing();
    const int64_t patches = contract_.patches_per_token;
    const int64_t largest = data::LimitsOf(CaptionOptionsOf(config_, contract_)).max_features;
    // Beside the largest image each other one has a token.
    const int64_t most_images = 1 + config_.sequence_length() - largest / patches;
    if (packing.max_images() > most_images) {
      violations_.Advise("data.packing.max_images", most_images, " is ", packing.max_images(),
                         ", must be at most ", most_images, ": a row of ",
                         config_.sequence_length(), " tokens holds no more beside the largest of ",
                         largest / patches);
      return;
    }
    const int64_t need = largest + (packing.max_images() - 1) * patches;
    if (packing.max_patches() >= need) return;
    violations_.Advise("data.packing.max_patches", need, " is ", packing.max_patches(),
                       ", must be at least ", need, ": ", largest, " of the largest image and ",
                       patches, " of each other of data.packing.max_images");
  }

  const RunConfig& config_;
  const InputContract& contract_;
  internal::DataViolations violations_;
};

}  // namespace

std::vector<Violation> ValidateData(const RunConfig& config, const InputContract& contract) {
  return Checker(config, contract).Run();
}

}  // namespace hetero
