#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/data/conversation_source.h"
#include "hetero/data/fashion_mnist.h"
#include "hetero/data/source.h"
#include "hetero/trainer/feed/data_violations.h"
#include "hetero/trainer/feed/image_rules.h"
#include "hetero/trainer/feed/mock_rules.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

using internal::CheckImageSizes;
using internal::CheckMostImages;
using internal::ImageFieldsOf;
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
      case Data::kConversations:
        CheckConversations();
        break;
      case Data::kMock:
        internal::CheckMock(config_, contract_, violations_);
        break;
      case Data::SOURCE_NOT_SET:
        break;
    }
    CheckEnergonOrder();
    CheckQuarantine();
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
    const Data& data = config_.data();
    if (data.has_conversations()) {
      if (data.has_tokenizer()) return;
      violations_.Refuse("data.tokenizer",
                         " is not set, data.conversations are read with it; name its file");
      return;
    }
    if (!data.has_tokenizer() || data.has_web_dataset()) return;
    violations_.Refuse("data.tokenizer",
                       " is set, only data.conversations and the captions of data.web_dataset are "
                       "read with it; remove it");
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

  void CheckEvaluation(std::string_view message, bool has_evaluation) {
    if (!config_.has_evaluation() || has_evaluation) return;
    violations_.Refuse(absl::StrCat(message, ".evaluation"),
                       " is not set, the run evaluates; name the folder or remove evaluation");
  }

  void CheckWebDataset() {
    constexpr std::string_view kMessage = "data.web_dataset";
    const proto::WebDataset& web = config_.data().web_dataset();
    if (!CheckCaptions(kMessage, web.end_token_id())) return;
    CheckImageSizes(config_, contract_, ImageFieldsOf(kMessage, web), violations_);
    CheckEvaluation(kMessage, web.has_evaluation());
  }

  void CheckConversations() {
    constexpr std::string_view kMessage = "data.conversations";
    const proto::Conversations& conversations = config_.data().conversations();
    CheckEvaluation(kMessage, conversations.has_evaluation());
    if (!conversations.has_images()) return;
    constexpr std::string_view kImages = "data.conversations.images";
    const proto::SampleImages& images = conversations.images();
    if (!TakesImages(contract_)) {
      violations_.Refuse(
          kImages, " is set, the model takes none; give a model with an encoder or remove it");
      return;
    }
    internal::ImageFields fields = ImageFieldsOf(kImages, images);
    fields.thumbnails = images.thumbnails();
    CheckImageSizes(config_, contract_, fields, violations_);
    if (!violations_.empty()) return;
    // A turn begins with a token of its own.
    CheckMostImages(config_, contract_, "data.conversations.images.max_count", images.max_count(),
                    config_.sequence_length() - 1, images.thumbnails() ? 2 : 1, violations_);
  }

  void CheckEnergonOrder() {
    if (!config_.data().has_energon_order()) return;
    if (config_.data().has_mock()) {
      violations_.Refuse("data.energon_order",
                         " is set, samples of data.mock are in no shards; remove it");
    }
    if (config_.data().has_packing()) {
      violations_.Refuse("data.packing",
                         " is set beside data.energon_order, whose batches are of single samples; "
                         "remove one of them");
    }
  }

  void CheckQuarantine() {
    if (!config_.data().has_quarantine() || !config_.data().has_mock()) return;
    violations_.Refuse("data.quarantine",
                       " is set, samples of data.mock are made and can always be read; remove it");
  }

  // Precondition: all else is in order.
  void CheckPacking() {
    if (config_.data().has_mock()) {
      violations_.Refuse("data.packing",
                         " is set, samples of data.mock have a row each; remove it");
      return;
    }
    if (!TakesImages(contract_)) return;
    const data::SourceLimits one = LargestImageOf(config_, contract_);
    if (one.max_tokens == 0) return;
    const proto::Packing& packing = config_.data().packing();
    CheckMostImages(config_, contract_, "data.packing.max_images", packing.max_images(),
                    config_.sequence_length(), 1, violations_);
    if (!violations_.empty()) return;
    const data::SourceLimits sample =
        config_.data().has_conversations()
            ? data::LimitsOf(ConversationOptionsOf(config_, contract_))
            : one;
    if (packing.max_images() < std::ssize(sample.sizes)) {
      violations_.Advise("data.packing.max_images", std::ssize(sample.sizes), " is ",
                         packing.max_images(), ", must be at least the ", std::ssize(sample.sizes),
                         " of a sample");
      return;
    }
    const int64_t patches = contract_.patches_per_token;
    // Beside the largest each other image has a token; tiles are all of one size.
    const int64_t of_images = TilingOf(config_, contract_).tiles.has_value()
                                  ? one.max_features
                                  : one.max_features + (packing.max_images() - 1) * patches;
    if (packing.max_patches() >= std::max(of_images, sample.max_features)) return;
    if (sample.max_features >= of_images) {
      violations_.Advise("data.packing.max_patches", sample.max_features, " is ",
                         packing.max_patches(), ", must be at least the ", sample.max_features,
                         " that images of a sample may have");
      return;
    }
    violations_.Advise("data.packing.max_patches", of_images, " is ", packing.max_patches(),
                       ", must be at least ", of_images, ": ", one.max_features,
                       " of the largest image and ", patches,
                       " of each other of data.packing.max_images");
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
