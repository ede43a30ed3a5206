#include "hetero/data/joined_source.h"

#include <algorithm>
#include <cstddef>

namespace hetero::data {

JoinedSource::JoinedSource(std::vector<Part> parts) : parts_(std::move(parts)) {
  for (const Part& part : parts_) borders_.push_back(borders_.back() + part.samples.count);
}

std::pair<SampleSource&, int64_t> JoinedSource::Find(int64_t index) const {
  const auto after = std::ranges::upper_bound(borders_, index);
  const auto part = static_cast<size_t>(after - borders_.begin()) - 1;
  return {*parts_[part].source, parts_[part].samples.first + index - borders_[part]};
}

absl::Status JoinedSource::ReadLanguage(int64_t index, LanguageSample& out) {
  const auto [source, at] = Find(index);
  return source.ReadLanguage(at, out);
}

absl::Status JoinedSource::ReadMedia(int64_t index, int modality, MediaBatch& out) {
  const auto [source, at] = Find(index);
  return source.ReadMedia(at, modality, out);
}

absl::Status JoinedSource::ReadFacts(int64_t index, SampleFacts& facts) {
  const auto [source, at] = Find(index);
  return source.ReadFacts(at, facts);
}

}  // namespace hetero::data
