#ifndef HETERO_DATA_ENERGON_WORKER_SPLIT_H_
#define HETERO_DATA_ENERGON_WORKER_SPLIT_H_

// Which samples of a data set each worker reads: arithmetic on the number of workers of all ranks
// alone, so that two ranks with four workers read what four ranks with two do.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "hetero/base/index_range.h"

namespace hetero::data {

// [0, n) in the order that a balanced split of workers fills up: halves of the list, each in that
// order, interleaved. For powers of two the reversal of bits.
std::vector<int64_t> BitReversal(int64_t n);

// Borders of `num_workers` consecutive ranges of `samples`, num_workers + 1 of them: worker w reads
// [out[w], out[w + 1]). Sizes differ by at most one; those who read one more are the first of
// BitReversal, `rotation` places on. Precondition: num_workers > 0, rotation >= 0.
std::vector<int64_t> WorkerBorders(IndexRange samples, int64_t num_workers, int64_t rotation);

// Cuts `samples` where shards end, then what is longer than 1.5 times `max_samples` into about
// equal parts of about that length. Slice s is [out[s], out[s + 1]), none is empty; of no samples
// only their place is left. shard_borders: 0 and the end of each shard.
// Precondition: `samples` lie within them, max_samples > 0.
std::vector<int64_t> SliceBorders(std::span<const int64_t> shard_borders, IndexRange samples,
                                  std::optional<int64_t> max_samples);

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_WORKER_SPLIT_H_
