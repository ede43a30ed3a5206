#include "hetero/data/mock_source.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/counter_hash.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero::data {
namespace {

// Purposes of a sample's random streams.
constexpr uint64_t kTextStream = 0;
constexpr uint64_t kPixelStream = 1;
constexpr uint64_t kFrameStream = 2;
constexpr uint64_t kHasImagesStream = 3;
constexpr uint64_t kHasAudioStream = 4;
constexpr uint64_t kLengthStream = 5;
constexpr uint64_t kImageSizesStream = 6;

// Uniform in [-1, 1).
void FillUniform(uint64_t stream, uint64_t& counter, std::span<float> values) {
  for (float& value : values) {
    const auto word = static_cast<uint32_t>(CounterHash(stream, counter++) >> 40);
    value = static_cast<float>(word) * 0x1p-23f - 1.0f;
  }
}

// The number from `least` to `most` at which the density 1 / x^2 reaches the share `word` / 2^64.
int64_t LongTailed(uint64_t word, int64_t least, int64_t most) {
  const double share = static_cast<double>(word >> 11) * 0x1p-53;
  const double ratio = static_cast<double>(least) / static_cast<double>(most);
  const auto number = static_cast<int64_t>(static_cast<double>(least) / (1 - share * (1 - ratio)));
  return std::clamp(number, least, most);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MockSource>> MockSource::Create(const MockOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options)).With("mock data");
  ImageSize tile;
  if (options.image_tokens > 0 && !options.SizesDiffer()) tile = TileOf(options).value();
  return std::unique_ptr<MockSource>(new MockSource(options, tile));
}

uint64_t MockSource::SampleStream(int64_t index, uint64_t purpose) const {
  return CounterHash(StreamOf(options_.seed, options_.split, static_cast<uint64_t>(index)),
                     purpose);
}

bool MockSource::HasImages(int64_t index) const {
  if (options_.image_tokens == 0) return false;
  return static_cast<int64_t>(Below(SampleStream(index, kHasImagesStream), 100)) <
         options_.image_percent;
}

std::vector<ImageSize> MockSource::ImagesOf(int64_t index) const {
  if (!HasImages(index)) return {};
  if (!options_.SizesDiffer()) {
    return std::vector<ImageSize>(static_cast<size_t>(options_.num_tiles), tile_);
  }
  const uint64_t stream = SampleStream(index, kImageSizesStream);
  const auto most_images = static_cast<uint64_t>(options_.max_images);
  const auto count = 1 + static_cast<int64_t>(Below(CounterHash(stream, 0), most_images));
  std::vector<ImageSize> images;
  int64_t room = options_.image_tokens;
  for (int64_t i = 1; i <= count; ++i) {
    const int64_t tokens = LongTailed(CounterHash(stream, static_cast<uint64_t>(i)),
                                      options_.LeastTokens(), options_.MostTokens());
    const ImageSize image = NearlySquareImage(tokens, options_.patch_size, options_.pixel_shuffle);
    room -= options_.NumTokens(image);
    if (room < 0) break;
    images.push_back(image);
  }
  return images;
}

int64_t MockSource::NumFrames(int64_t index) const {
  if (options_.max_frames == 0) return 0;
  if (static_cast<int64_t>(Below(SampleStream(index, kHasAudioStream), 100)) >=
      options_.audio_percent) {
    return 0;
  }
  const auto lengths = static_cast<uint64_t>(options_.max_frames - options_.min_frames + 1);
  return options_.min_frames +
         static_cast<int64_t>(Below(SampleStream(index, kLengthStream), lengths));
}

int64_t MockSource::feature_width(int modality) const {
  if (modality == options_.image_modality && options_.image_tokens > 0)
    return options_.PatchWidth();
  if (modality == options_.audio_modality && options_.max_frames > 0) return options_.num_mels;
  return 0;
}

absl::Status MockSource::ReadLanguage(int64_t index, LanguageSample& out) {
  SampleFacts facts;
  HETERO_RETURN_IF_ERROR(ReadFacts(index, facts));
  out.name = absl::StrCat("mock sample ", index);
  out.media.clear();
  int64_t num_text = options_.sequence_length;
  for (size_t m = 0; m < facts.modalities.size(); ++m) {
    for (const IndexRange& run : facts.modalities[m].runs) {
      out.media.push_back({.modality = static_cast<int>(m), .tokens = run});
      num_text -= run.count;
    }
  }
  out.text.clear();
  const uint64_t stream = SampleStream(index, kTextStream);
  const auto pool = static_cast<uint64_t>(options_.NumTextIds());
  const std::vector<int64_t> special_ids = options_.SpecialIds();
  for (int64_t t = 0; t < num_text; ++t) {
    int64_t id =
        1 + static_cast<int64_t>(Below(CounterHash(stream, static_cast<uint64_t>(t)), pool));
    for (const int64_t special : special_ids) {
      if (id >= special) ++id;
    }
    out.text.push_back(static_cast<int32_t>(id));
  }
  out.labels = out.text;
  return absl::OkStatus();
}

absl::Status MockSource::ReadFacts(int64_t index, SampleFacts& facts) {
  if (std::vector<ImageSize> sizes = ImagesOf(index); !sizes.empty()) {
    ModalityFacts& images = FactsOf(facts, options_.image_modality);
    for (const ImageSize size : sizes) images.num_tokens += options_.NumTokens(size);
    images.sizes = std::move(sizes);
  }
  if (const int64_t frames = NumFrames(index); frames > 0) {
    ModalityFacts& clips = FactsOf(facts, options_.audio_modality);
    clips.num_tokens = AudioRows(frames);
    clips.sizes.assign(1, {.height = static_cast<int>(frames), .width = 1});
  }
  int64_t next = 0;
  for (ModalityFacts& modality : facts.modalities) {
    if (modality.num_tokens > 0) modality.runs.assign(1, {next, modality.num_tokens});
    next += modality.num_tokens;
  }
  return absl::OkStatus();
}

absl::Status MockSource::ReadMedia(int64_t index, int modality, MediaBatch& out) {
  uint64_t counter = 0;
  if (modality == options_.image_modality && HasImages(index)) {
    for (const ImageSize size : ImagesOf(index)) {
      if (!out.Wants()) {
        counter += static_cast<uint64_t>(options_.NumPatches(size) * options_.PatchWidth());
        out.Pass();
        continue;
      }
      FillUniform(SampleStream(index, kPixelStream), counter,
                  out.Add(size, options_.NumPatches(size), options_.NumTokens(size)));
    }
    return absl::OkStatus();
  }
  const int64_t frames = modality == options_.audio_modality ? NumFrames(index) : 0;
  if (frames == 0) return absl::OkStatus();
  FillUniform(SampleStream(index, kFrameStream), counter,
              out.Add({.height = static_cast<int>(frames), .width = 1}, frames, AudioRows(frames)));
  return absl::OkStatus();
}

}  // namespace hetero::data
