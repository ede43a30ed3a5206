#ifndef HETERO_MODELS_NEMOTRON_PATTERN_H_
#define HETERO_MODELS_NEMOTRON_PATTERN_H_

// The layer pattern of a hybrid language model, one symbol a layer: "MEMEM*E". `|` separates
// pipeline stages; without it the layers divide evenly.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero {

enum class LayerKind : char {
  kMamba = 'M',
  kAttention = '*',
  kExperts = 'E',
  kMlp = '-',
};

// Layers [first, first + count), numbered over the whole model.
struct LayerRange {
  int64_t first = 0;
  int64_t count = 0;

  bool operator==(const LayerRange&) const = default;
};

class LayerPattern {
 public:
  // Errors: INVALID_ARGUMENT for an empty pattern or an unknown symbol, UNIMPLEMENTED for a symbol
  // of the grammar that this model does not have (G, D, + and multi-token prediction, `/`); both
  // name the position.
  static absl::StatusOr<LayerPattern> Parse(std::string_view text);

  const std::vector<LayerKind>& layers() const { return layers_; }
  int64_t size() const { return static_cast<int64_t>(layers_.size()); }
  int64_t Count(LayerKind kind) const;

  // Layers of stage `stage` of `num_stages`.
  // Errors: INVALID_ARGUMENT naming both numbers and the nearest stage count that works.
  absl::StatusOr<LayerRange> Stage(int stage, int num_stages) const;

 private:
  std::vector<LayerKind> layers_;
  std::vector<int64_t> segment_ends_;  // with `|`: last entry is size(); empty without
};

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_PATTERN_H_
