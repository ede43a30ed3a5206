#ifndef HETERO_DATA_ENERGON_LOADER_OPTIONS_H_
#define HETERO_DATA_ENERGON_LOADER_OPTIONS_H_

// What decides in which order a loader of Megatron-Energon reads.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "hetero/base/index_range.h"
#include "hetero/data/energon/slice_loader.h"

namespace hetero::data {

// A sample of a shard.
struct ShardSample {
  std::string shard;
  int64_t index = 0;
};

// A split of a data set as the order of its samples knows it. Samples go by their place in it.
struct SplitSamples {
  std::string name;                       // for messages
  std::vector<std::string> shards = {};   // names, where they are known
  std::vector<int64_t> shard_borders;     // 0 and the end of each shard
  std::vector<int64_t> excluded = {};     // places of samples that are passed over, increasing
  std::optional<IndexRange> subset = {};  // what is read of it; unset: all

  int64_t size() const { return shard_borders.back(); }
  IndexRange range() const { return subset.value_or(IndexRange{.first = 0, .count = size()}); }

  // Where a sample lies. Precondition: 0 <= place < size(), the shards' names are known.
  ShardSample Find(int64_t place) const;
};

enum class BlendMode {
  kNone,         // one data set
  kWeights,      // each without end, by `share` as weight
  kRepetitions,  // a pass has each `share` times
};

struct BlendedSplit {
  SplitSamples samples;
  double share = 1;  // weight or repetitions; BlendMode::kNone does not read it
  std::optional<int64_t> shuffle_over_epochs = 1;  // as SliceOrder has it
};

// The ranks that read together, equal in their number of workers.
struct LoaderShape {
  int64_t num_ranks = 1;
  // Workers of a rank, which give a batch each in turn. 0, where the rank itself reads, is like 1.
  int64_t num_workers = 1;

  int64_t WorkersOfRank() const { return num_workers > 0 ? num_workers : 1; }
  int64_t AllWorkers() const { return num_ranks * WorkersOfRank(); }
};

struct LoaderOptions {
  std::vector<BlendedSplit> splits;
  BlendMode mode = BlendMode::kNone;
  LoaderShape shape;
  // False: one pass over one data set behind the other, as they stand, without slices, shuffling,
  // shares, repetition and virtual epochs.
  bool is_training = true;
  int64_t seed_offset = 0;
  int64_t num_open_slices = 16;                          // of a data set, in training
  std::optional<int64_t> max_samples_per_sequence = {};  // of a slice, about
  int64_t shuffle_buffer_size = 0;                       // below 2: none
  int64_t batch_size = 1;
  bool drops_last_batch = false;     // when a pass ends within it
  int64_t virtual_epoch_length = 0;  // batches of a rank; 0: none
  bool repeats = true;               // passes of training follow each other
};

// Errors: INVALID_ARGUMENT naming the field, its value and what it may be.
absl::Status Validate(const LoaderOptions& options);

// One rule a line, all that orders of a worker's samples differ by: what states are compared by.
// Names of data sets, batch size and shape are none, the number of all workers is one.
std::string Describe(const LoaderOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_LOADER_OPTIONS_H_
