#ifndef HETERO_DATA_ENERGON_BLEND_H_
#define HETERO_DATA_ENERGON_BLEND_H_

// Several data sets of a worker, mixed by weight or one behind the other.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/energon/random_stream.h"
#include "hetero/data/energon/repeated_loader.h"
#include "hetero/data/energon/sample_reference.h"

namespace hetero::data {

struct BlendState {
  uint64_t num_draws = 0;
  std::vector<bool> ended;  // data sets that the pass has nothing more of

  bool operator==(const BlendState&) const = default;
};

// A pass ends when each of its data sets has ended its own. That one has ended is known only when
// it is drawn: the draw is spent, and another follows.
class Blend {
 public:
  // weights: positive, 0 for a data set without samples here, and one a loader; empty: loaders
  // follow each other. Precondition: Check(loaders.size(), state) is OK.
  Blend(std::vector<RepeatedLoader> loaders, std::vector<float> weights, uint32_t seed,
        BlendState state = {});

  // Whether a blend of that many can have been in that state; anything else is DATA_LOSS.
  static absl::Status Check(size_t num_loaders, const BlendState& state);

  const std::vector<RepeatedLoader>& loaders() const { return loaders_; }
  BlendState state() const;

  // The next sample of the pass; nothing at its end, after which another begins.
  std::optional<SampleReference> Next();

 private:
  void BeginPass();

  std::vector<RepeatedLoader> loaders_;
  std::vector<float> weights_;
  std::vector<float> live_weights_;  // 0 for those that have ended
  std::vector<bool> ended_;
  int64_t num_live_ = 0;
  RandomStream random_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_BLEND_H_
