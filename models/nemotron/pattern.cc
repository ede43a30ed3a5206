#include "hetero/models/nemotron/pattern.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace hetero {

absl::StatusOr<LayerPattern> LayerPattern::Parse(std::string_view text) {
  LayerPattern pattern;
  bool staged = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char symbol = text[i];
    switch (symbol) {
      case 'M':
      case '*':
      case 'E':
      case '-':
        pattern.layers_.push_back(static_cast<LayerKind>(symbol));
        break;
      case '|':
        staged = true;
        pattern.segment_ends_.push_back(pattern.size());
        break;
      case 'G':
      case 'D':
      case '+':
      case '/':
        return absl::UnimplementedError(absl::StrCat("layer pattern \"", text, "\" position ", i,
                                                     ": '", std::string(1, symbol),
                                                     "' is not implemented; use M, *, E, - and |"));
      default:
        return absl::InvalidArgumentError(absl::StrCat("layer pattern \"", text, "\" position ", i,
                                                       ": unknown symbol '", std::string(1, symbol),
                                                       "'; use M, *, E, - and |"));
    }
  }
  if (pattern.layers_.empty()) {
    return absl::InvalidArgumentError("layer pattern is empty; give at least one of M, *, E, -");
  }
  if (staged) pattern.segment_ends_.push_back(pattern.size());
  return pattern;
}

int64_t LayerPattern::Count(LayerKind kind) const {
  return std::count(layers_.begin(), layers_.end(), kind);
}

absl::StatusOr<LayerRange> LayerPattern::Stage(int stage, int num_stages) const {
  const int64_t segments =
      segment_ends_.empty() ? size() : static_cast<int64_t>(segment_ends_.size());
  if (num_stages < 1 || segments % num_stages != 0) {
    int64_t nearest = std::clamp<int64_t>(num_stages, 1, segments);
    while (segments % nearest != 0) --nearest;
    return absl::InvalidArgumentError(
        absl::StrCat("pp ", num_stages, " does not divide the ", segments,
                     segment_ends_.empty() ? " layers" : " stages written",
                     " of the layer pattern; nearest is ", nearest));
  }
  const int64_t per_stage = segments / num_stages;
  if (segment_ends_.empty()) return LayerRange{stage * per_stage, per_stage};
  const int64_t begin = stage == 0 ? 0 : segment_ends_[stage * per_stage - 1];
  return LayerRange{begin, segment_ends_[(stage + 1) * per_stage - 1] - begin};
}

}  // namespace hetero
