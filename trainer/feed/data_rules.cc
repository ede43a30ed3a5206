#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/base/rounding.h"
#include "hetero/data/fashion_mnist.h"
#include "hetero/data/mock_source.h"
#include "hetero/tensor/audio_batch.h"
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
    switch (config_.data().source_case()) {
      case Data::kFashionMnist:
        CheckFashionMnist();
        break;
      case Data::kWebDataset:
        CheckWebDataset();
        break;
      case Data::kMock:
        CheckMock();
        break;
      case Data::SOURCE_NOT_SET:
        break;
    }
    return std::move(violations_);
  }

 private:
  template <typename... Text>
  void Refuse(std::string_view field, const Text&... text) {
    violations_.push_back({std::string(field), absl::StrCat(field, text...)});
  }

  // `nearest` passes every rule of the field.
  template <typename... Text>
  void Advise(std::string_view field, std::optional<int64_t> nearest, const Text&... text) {
    Refuse(field, text...);
    if (!nearest) return;
    violations_.back().corrections = {{{std::string(field), absl::StrCat(*nearest)}}};
  }

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
    if (id < least) Advise(field, nearest, " is ", id, ", ", why);
    if (id >= contract_.vocabulary_size) {
      Advise(field, nearest, " is ", id, ", must be below the model's vocabulary of ",
             contract_.vocabulary_size);
    }
    for (const auto& [name, token] : Placeholders()) {
      if (id == token)
        Advise(field, nearest, " is ", id, ", which is the model's ", name, " token");
    }
  }

  void CheckPad() {
    CheckToken("data.pad_token_id", config_.data().pad_token_id(), 0, "must be at least 0");
  }

  // Returns whether the model can take captioned images at all.
  bool CheckCaptions(std::string_view field, int64_t end_token_id) {
    if (!TakesImages(contract_)) {
      Refuse(field, " has images, the model takes none; give a model with an encoder or data.mock");
      return false;
    }
    for (const auto& [name, token] : Placeholders()) {
      if (token >= kNumBytes) continue;
      Refuse(field, " writes bytes as ids below ", kNumBytes, ", the model's ", name, " token is ",
             token, "; give a model whose ", name, " token is at least ", kNumBytes);
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
      Refuse(field, " is ", side, " pixels; a photograph and whole patches need ", least,
             ", the model takes images of at most ", contract_.max_image_side,
             " a side (max_image_side); give a model that takes at least ", least);
      return;
    }
    Advise(field, std::clamp((side + step / 2) / step * step, least, most), " is ", side,
           " pixels, must be a multiple of ", step, " from ", least, " to ", most,
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
      Advise("sequence_length", need, " is ", config_.sequence_length(), ", must be at least ",
             need, " (", most_tokens, " image tokens, the longest caption, an end)");
    }
  }

  void CheckWebDataset() {
    const proto::WebDataset& web = config_.data().web_dataset();
    if (!CheckCaptions("data.web_dataset", web.end_token_id())) return;
    if (web.min_patches() < contract_.patches_per_token) {
      Advise("data.web_dataset.min_patches", contract_.patches_per_token, " is ", web.min_patches(),
             ", must be at least the ", contract_.patches_per_token, " patches of a token");
    }
    const int64_t most = MostPatches(contract_);
    const int64_t fit = (config_.sequence_length() - 1) * contract_.patches_per_token;
    const int64_t largest = std::min(fit, most);
    if (web.min_patches() > largest) {
      const bool has_image = largest >= contract_.patches_per_token;
      Advise("data.web_dataset.min_patches", has_image ? std::optional(largest) : std::nullopt,
             " is ", web.min_patches(), ", no image of so many patches fits the sequence length ",
             config_.sequence_length(), " and the model's largest side of ",
             contract_.max_image_side, " pixels");
    } else if (web.max_patches() < web.min_patches()) {
      Advise("data.web_dataset.max_patches", web.min_patches(), " is ", web.max_patches(),
             ", must be at least data.web_dataset.min_patches ", web.min_patches());
    } else if (web.max_patches() > most) {
      Advise("data.web_dataset.max_patches", most, " is ", web.max_patches(), ", must be at most ",
             most, ", the patches of the model's largest image (max_image_side: ",
             contract_.max_image_side, ")");
    }
    if (config_.has_evaluation() && !web.has_evaluation()) {
      Refuse("data.web_dataset.evaluation",
             " is not set, the run evaluates; name the folder or remove evaluation");
    }
  }

  void CheckMock() {
    const proto::MockSamples& mock = config_.data().mock();
    if (mock.has_text_vocabulary() && mock.text_vocabulary() > contract_.vocabulary_size) {
      Advise("data.mock.text_vocabulary", contract_.vocabulary_size, " is ", mock.text_vocabulary(),
             ", must be at most the model's vocabulary of ", contract_.vocabulary_size);
    }
    CheckMockImages(mock);
    CheckMockClips(mock);
    if (!mock.has_max_clip_frames() && mock.num_image_tokens() == 0 &&
        config_.sequence_length() == 1) {
      Advise("sequence_length", 2,
             " is 1, must be at least 2: the first token of a text is never predicted, so no "
             "step would have a loss");
    }
  }

  // The tokens that images and clips may share: at least one of a sequence is text.
  int64_t RoomForMedia() const { return config_.sequence_length() - 1; }

  void CheckMockImages(const proto::MockSamples& mock) {
    const int64_t num_tokens = mock.num_image_tokens();
    constexpr std::string_view kField = "data.mock.num_image_tokens";
    if (num_tokens == 0) {
      if (mock.image_percent() > 0) {
        Advise("data.mock.image_percent", 0, " is ", mock.image_percent(), ", but ", kField,
               " is 0: there are no images");
      }
      return;
    }
    const int64_t clip_tokens = AudioRows(std::min(mock.max_clip_frames(), contract_.max_frames));
    const int64_t room = std::max<int64_t>(0, RoomForMedia() - clip_tokens);
    if (!TakesImages(contract_)) {
      Advise(kField, 0, " is ", num_tokens, ", the model takes no images");
    } else if (num_tokens > RoomForMedia()) {
      Advise(kField, LargestMock(room), " is ", num_tokens, ", must be below sequence_length ",
             config_.sequence_length());
    } else if (!FitsMock(num_tokens)) {
      Advise(kField, LargestMock(std::min(num_tokens, room)), " is ", num_tokens,
             ", an image of so many does not fit the model's ", contract_.max_image_side, " x ",
             contract_.max_image_side, " pixels");
    }
  }

  void CheckMockClips(const proto::MockSamples& mock) {
    constexpr std::string_view kMin = "data.mock.min_clip_frames";
    constexpr std::string_view kMax = "data.mock.max_clip_frames";
    if (!mock.has_min_clip_frames() && !mock.has_max_clip_frames()) {
      if (mock.clip_percent() > 0) {
        Advise("data.mock.clip_percent", 0, " is ", mock.clip_percent(), ", but ", kMax,
               " is not set: there are no clips");
      }
      return;
    }
    if (!TakesClips(contract_)) {
      Refuse(mock.has_max_clip_frames() ? kMax : kMin,
             " is set, the model takes no clips; leave out both clip frames or give a model with "
             "audio");
      return;
    }
    if (!mock.has_min_clip_frames()) {
      const int64_t most = std::min(mock.max_clip_frames(), contract_.max_frames);
      Advise(kMin, most, " is not set, clips have from min_clip_frames to max_clip_frames frames");
    }
    if (!mock.has_max_clip_frames()) {
      const int64_t least = std::min(mock.min_clip_frames(), contract_.max_frames);
      Advise(kMax, least, " is not set, clips have from min_clip_frames to max_clip_frames frames");
      return;
    }
    const int64_t max_frames = mock.max_clip_frames();
    // Once the images themselves fit.
    const int64_t room = RoomForMedia() - mock.num_image_tokens();
    int64_t longest = contract_.max_frames;
    if (max_frames > longest) {
      Advise(kMax, room > 0 ? std::min(longest, 2 * room) : longest, " is ", max_frames,
             ", must be at most the model's max_frames ", longest);
    } else if (room >= 0 && AudioRows(max_frames) > room) {
      Refuse(kMax, " is ", max_frames, ", a clip of so many takes ", AudioRows(max_frames),
             " tokens; sequence_length ", config_.sequence_length(), " leaves ", room,
             " beside images and a token of text");
      std::vector<Correction>& corrections = violations_.back().corrections;
      if (room > 0) corrections.push_back({{std::string(kMax), absl::StrCat(2 * room)}});
      corrections.push_back({{"sequence_length", absl::StrCat(config_.sequence_length() - room +
                                                              AudioRows(max_frames))}});
    }
    if (room > 0) longest = std::min(longest, 2 * room);
    longest = std::min(longest, max_frames);
    if (mock.min_clip_frames() > longest) {
      Advise(kMin, longest, " is ", mock.min_clip_frames(), ", must be at most ", kMax, " ",
             longest);
    }
  }

  // Whether there is an image of so many tokens that the model takes.
  bool FitsMock(int64_t num_tokens) const {
    const absl::StatusOr<data::ImageSize> tile =
        data::NearestSquareTile(num_tokens, contract_.patch_size, PixelShuffle(contract_));
    return tile.ok() && std::max(tile->height, tile->width) <= contract_.max_image_side;
  }

  // The most tokens of an image, at most `limit`; whole squares are never far.
  int64_t LargestMock(int64_t limit) const {
    const int64_t side = contract_.max_image_side / SideStep(contract_);
    int64_t tokens = std::min(limit, side * side);
    while (tokens > 0 && !FitsMock(tokens)) --tokens;
    return tokens;
  }

  const RunConfig& config_;
  const InputContract& contract_;
  std::vector<Violation> violations_;
};

}  // namespace

std::vector<Violation> ValidateData(const RunConfig& config, const InputContract& contract) {
  return Checker(config, contract).Run();
}

}  // namespace hetero
