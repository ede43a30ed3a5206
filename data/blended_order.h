#ifndef HETERO_DATA_BLENDED_ORDER_H_
#define HETERO_DATA_BLENDED_ORDER_H_

// Samples of several data sets in given shares, as a pure function of the place in the run.

#include <cstdint>
#include <span>
#include <vector>

#include "hetero/data/sample_order.h"

namespace hetero::data {

// One of several data sets that stand one behind the other.
struct BlendedPart {
  int64_t num_samples = 0;
  int64_t per_round = 0;  // of its samples in a round, any number
};

// A round has `per_round` samples of each part, its places shuffled by a permutation of its own. A
// part takes its samples one epoch after the other, each once an epoch, across rounds. So shares
// are exact after each round, and nothing depends on lanes, steps or what came before.
class BlendedOrder : public SampleSequence {
 public:
  // Preconditions: every part has samples, some have any in a round.
  BlendedOrder(std::span<const BlendedPart> parts, uint64_t seed);

  int64_t IndexAt(int64_t global_index) override;

 private:
  struct Part {
    int64_t first = 0;        // of its samples among those of all parts
    SampleOrder order;        // of its own
    int64_t round_begin = 0;  // of its numbers among those of a round
    int64_t per_round = 0;
  };

  std::vector<Part> parts_;  // those with samples in a round
  int64_t round_size_ = 0;
  uint64_t seed_;
};

// Samples of each part in a round of kWeightedRound, to the nearest whole number and at least one
// where the weight is positive. Precondition: no weight is negative, some are positive; there are
// no more than kWeightedRound.
inline constexpr int64_t kWeightedRound = int64_t{1} << 20;
std::vector<int64_t> RoundOfWeights(std::span<const double> weights);

}  // namespace hetero::data

#endif  // HETERO_DATA_BLENDED_ORDER_H_
