#include "hetero/trainer/feed/mock_rules.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/data/image/image.h"
#include "hetero/data/mock_source.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero::internal {
namespace {

class MockChecker {
 public:
  MockChecker(const proto::RunConfig& config, const InputContract& contract,
              DataViolations& violations)
      : config_(config), contract_(contract), violations_(violations) {}

  void Run() {
    const proto::MockSamples& mock = config_.data().mock();
    if (mock.has_text_vocabulary() && mock.text_vocabulary() > contract_.vocabulary_size) {
      violations_.Advise("data.mock.text_vocabulary", contract_.vocabulary_size, " is ",
                         mock.text_vocabulary(), ", must be at most the model's vocabulary of ",
                         contract_.vocabulary_size);
    }
    CheckMockImages(mock);
    CheckMockSizes(mock);
    CheckMockClips(mock);
    if (!mock.has_max_clip_frames() && mock.num_image_tokens() == 0 &&
        config_.sequence_length() == 1) {
      violations_.Advise(
          "sequence_length", 2,
          " is 1, must be at least 2: the first token of a text is never predicted, so no "
          "step would have a loss");
    }
  }

 private:
  // The tokens that images and clips may share: at least one of a sequence is text.
  int64_t RoomForMedia() const { return config_.sequence_length() - 1; }

  void CheckMockImages(const proto::MockSamples& mock) {
    const int64_t num_tokens = mock.num_image_tokens();
    constexpr std::string_view kField = "data.mock.num_image_tokens";
    if (num_tokens == 0) {
      if (mock.image_percent() > 0) {
        violations_.Advise("data.mock.image_percent", 0, " is ", mock.image_percent(), ", but ",
                           kField, " is 0: there are no images");
      }
      return;
    }
    const int64_t clip_tokens = AudioRows(std::min(mock.max_clip_frames(), contract_.max_frames));
    const int64_t room = std::max<int64_t>(0, RoomForMedia() - clip_tokens);
    if (!TakesImages(contract_)) {
      violations_.Advise(kField, 0, " is ", num_tokens, ", the model takes no images");
    } else if (num_tokens > RoomForMedia()) {
      violations_.Advise(kField, LargestMock(room), " is ", num_tokens,
                         ", must be below sequence_length ", config_.sequence_length());
    } else if (!HasSizes(mock) && !FitsMock(num_tokens)) {
      violations_.Advise(kField, LargestMock(std::min(num_tokens, room)), " is ", num_tokens,
                         ", an image of so many does not fit the model's ",
                         contract_.max_image_side, " x ", contract_.max_image_side, " pixels");
    }
  }

  static bool HasSizes(const proto::MockSamples& mock) {
    return mock.has_max_images() || mock.has_min_image_patches() || mock.has_max_image_patches();
  }

  void CheckMockSizes(const proto::MockSamples& mock) {
    constexpr std::string_view kCount = "data.mock.max_images";
    constexpr std::string_view kMin = "data.mock.min_image_patches";
    constexpr std::string_view kMax = "data.mock.max_image_patches";
    if (!HasSizes(mock)) return;
    if (mock.num_image_tokens() == 0) {
      const std::string_view set = mock.has_max_images()          ? kCount
                                   : mock.has_min_image_patches() ? kMin
                                                                  : kMax;
      violations_.Refuse(set,
                         " is set, but data.mock.num_image_tokens is 0: there are no images; "
                         "remove it");
      return;
    }
    if (!TakesImages(contract_)) return;  // said of num_image_tokens
    const int64_t patches = contract_.patches_per_token;
    const int64_t side = contract_.max_image_side / SideStep(contract_);
    const int64_t most = std::min(mock.num_image_tokens(), side * side) * patches;
    constexpr std::string_view kUnset =
        " is not set, images of differing sizes need max_images, min_image_patches and "
        "max_image_patches";
    if (!mock.has_max_images()) violations_.Advise(kCount, 1, kUnset);
    if (!mock.has_max_image_patches()) {
      violations_.Advise(kMax, std::max(most, patches), kUnset);
    } else if (mock.max_image_patches() < patches) {
      violations_.Advise(kMax, patches, " is ", mock.max_image_patches(), ", must be at least the ",
                         patches, " patches of a token");
    } else if (most >= patches && mock.max_image_patches() > most) {
      violations_.Advise(kMax, most, " is ", mock.max_image_patches(), ", must be at most ", most,
                         ": what data.mock.num_image_tokens and the model's max_image_side of ",
                         contract_.max_image_side, " have room for");
    }
    const int64_t largest =
        mock.has_max_image_patches() ? std::min(mock.max_image_patches(), most) : most;
    const int64_t least = std::max(largest / patches * patches, patches);
    if (!mock.has_min_image_patches()) {
      violations_.Advise(kMin, patches, kUnset);
    } else if (mock.min_image_patches() > least) {
      violations_.Advise(kMin, least, " is ", mock.min_image_patches(), ", must be at most ", least,
                         ", the whole tokens of ", kMax);
    }
  }

  void CheckMockClips(const proto::MockSamples& mock) {
    constexpr std::string_view kMin = "data.mock.min_clip_frames";
    constexpr std::string_view kMax = "data.mock.max_clip_frames";
    if (!mock.has_min_clip_frames() && !mock.has_max_clip_frames()) {
      if (mock.clip_percent() > 0) {
        violations_.Advise("data.mock.clip_percent", 0, " is ", mock.clip_percent(), ", but ", kMax,
                           " is not set: there are no clips");
      }
      return;
    }
    if (!TakesClips(contract_)) {
      violations_.Refuse(
          mock.has_max_clip_frames() ? kMax : kMin,
          " is set, the model takes no clips; leave out both clip frames or give a model with "
          "audio");
      return;
    }
    if (!mock.has_min_clip_frames()) {
      const int64_t most = std::min(mock.max_clip_frames(), contract_.max_frames);
      violations_.Advise(kMin, most,
                         " is not set, clips have from min_clip_frames to max_clip_frames frames");
    }
    if (!mock.has_max_clip_frames()) {
      const int64_t least = std::min(mock.min_clip_frames(), contract_.max_frames);
      violations_.Advise(kMax, least,
                         " is not set, clips have from min_clip_frames to max_clip_frames frames");
      return;
    }
    const int64_t max_frames = mock.max_clip_frames();
    // Once the images themselves fit.
    const int64_t room = RoomForMedia() - mock.num_image_tokens();
    int64_t longest = contract_.max_frames;
    if (max_frames > longest) {
      violations_.Advise(kMax, room > 0 ? std::min(longest, 2 * room) : longest, " is ", max_frames,
                         ", must be at most the model's max_frames ", longest);
    } else if (room >= 0 && AudioRows(max_frames) > room) {
      violations_.Refuse(kMax, " is ", max_frames, ", a clip of so many takes ",
                         AudioRows(max_frames), " tokens; sequence_length ",
                         config_.sequence_length(), " leaves ", room,
                         " beside images and a token of text");
      if (room > 0) violations_.Correct({{std::string(kMax), absl::StrCat(2 * room)}});
      violations_.Correct({{"sequence_length", absl::StrCat(config_.sequence_length() - room +
                                                            AudioRows(max_frames))}});
    }
    if (room > 0) longest = std::min(longest, 2 * room);
    longest = std::min(longest, max_frames);
    if (mock.min_clip_frames() > longest) {
      violations_.Advise(kMin, longest, " is ", mock.min_clip_frames(), ", must be at most ", kMax,
                         " ", longest);
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

  const proto::RunConfig& config_;
  const InputContract& contract_;
  DataViolations& violations_;
};

}  // namespace

void CheckMock(const proto::RunConfig& config, const InputContract& contract,
               DataViolations& violations) {
  MockChecker(config, contract, violations).Run();
}

}  // namespace hetero::internal
