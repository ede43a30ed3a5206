#include "hetero/tensor/ops/exact_match/exact_match.h"

namespace hetero::internal {

absl::Status CountExactMatchesCpu(const ExactMatchArgs& args) {
  const auto predicted = args.predicted_N.values<int32_t>();
  const auto targets = args.targets_N.values<int32_t>();
  const auto positions = args.positions_N.values<int32_t>();
  const auto counts = args.counts_2.values<int64_t>();
  for (size_t begin = 0; begin < positions.size();) {
    const int64_t row = positions[begin] / args.row_length;
    bool exact = true;
    size_t i = begin;
    for (; i < positions.size() && positions[i] / args.row_length == row; ++i) {
      exact = exact && predicted[i] == targets[i];
    }
    counts[0] += 1;
    counts[1] += exact ? 1 : 0;
    begin = i;
  }
  return absl::OkStatus();
}

}  // namespace hetero::internal
