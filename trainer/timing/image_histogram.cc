#include "hetero/trainer/timing/image_histogram.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace hetero {

absl::StatusOr<std::vector<ImageCount>> ParseImageHistogram(std::string_view text,
                                                            std::string_view source) {
  std::vector<ImageCount> histogram;
  int number = 0;
  for (std::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    ImageCount entry;
    int64_t count = 0;
    if (words.size() != 3 || !absl::SimpleAtoi(words[0], &entry.size.height) ||
        !absl::SimpleAtoi(words[1], &entry.size.width) || !absl::SimpleAtoi(words[2], &count) ||
        entry.size.height < 0 || entry.size.width < 0 || count < 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          source, ":", number, ": '", line,
          "' is not \"height width count\", pixels at least 0 and a count at least 1"));
    }
    entry.count = static_cast<double>(count);
    histogram.push_back(entry);
  }
  if (!histogram.empty()) return histogram;
  return absl::InvalidArgumentError(absl::StrCat(source, " has no line \"height width count\""));
}

absl::StatusOr<std::vector<SampleShare>> SharesOf(const std::vector<ImageCount>& histogram,
                                                  const InputContract& contract,
                                                  const SampleLimits& limits) {
  if (!TakesImages(contract)) {
    return absl::InvalidArgumentError("a histogram of images is given, the model takes none");
  }
  double total = 0;
  for (const ImageCount& entry : histogram) total += entry.count;
  const int64_t step = SideStep(contract);
  std::vector<SampleShare> shares;
  for (const ImageCount& entry : histogram) {
    const std::string name = absl::StrCat(entry.size.height, " x ", entry.size.width);
    if (entry.size.height % step != 0 || entry.size.width % step != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "an image of ", name, " pixels is in the histogram; sides must be multiples of ", step));
    }
    SampleShare share = {.limits = limits, .share = entry.count / total};
    data::SourceLimits& images = share.limits.modalities[contract.image_modality];
    const int64_t most = images.max_tokens;
    images.sizes.clear();
    images.max_features = 0;
    if (entry.size.Area() > 0) {
      images.sizes = {entry.size};
      images.max_features = NumPatches(entry.size, contract);
    }
    images.max_tokens = images.max_features / contract.patches_per_token;
    if (images.max_tokens > most) {
      return absl::InvalidArgumentError(
          absl::StrCat("an image of ", name, " pixels, ", images.max_tokens,
                       " tokens, is in the histogram; a sample of the run has at most ", most));
    }
    shares.push_back(std::move(share));
  }
  return shares;
}

}  // namespace hetero
