#ifndef HETERO_DATA_ENERGON_LOADER_TESTING_H_
#define HETERO_DATA_ENERGON_LOADER_TESTING_H_

// Loaders of tests: every sample is a number, of the base of its data set and its place.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/rank_loader.h"

namespace hetero::data {

using Numbers = std::vector<int64_t>;

// The end of a round among numbers.
inline constexpr int64_t kEnd = -1;

// Of words apart by blanks; "/" is kEnd.
inline Numbers ParseNumbers(std::string_view text) {
  Numbers numbers;
  for (const std::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    int64_t number = kEnd;
    if (word != "/" && !absl::SimpleAtoi(word, &number)) number = -2;
    numbers.push_back(number);
  }
  return numbers;
}

inline SplitSamples SplitOf(std::string name, const std::vector<int64_t>& shards) {
  SplitSamples samples = {.name = std::move(name), .shard_borders = {0}};
  for (const int64_t size : shards) samples.shard_borders.push_back(samples.size() + size);
  return samples;
}

inline constexpr int64_t kFirstBase = 0;
inline constexpr int64_t kSecondBase = 100;
inline constexpr int64_t kThirdBase = 200;

// 55 samples from 0, 7 from 100, 55 from 200, in shards of 10.
inline BlendedSplit First() { return {.samples = SplitOf("ds1", {10, 10, 10, 10, 10, 5})}; }
inline BlendedSplit Second() { return {.samples = SplitOf("ds2", {7})}; }
inline BlendedSplit Third() { return {.samples = SplitOf("ds3", {10, 10, 10, 10, 10, 5})}; }

inline BlendedSplit Shared(BlendedSplit split, double share) {
  split.share = share;
  return split;
}

// Gives the numbers of the next `num_batches` batches of a rank, ends of rounds between them.
inline Numbers Read(RankLoader& loader, const Numbers& bases, int64_t num_batches) {
  Numbers numbers;
  while (num_batches > 0) {
    const std::vector<SampleReference> batch = loader.Next();
    if (batch.empty()) {
      numbers.push_back(kEnd);
      if (std::ssize(numbers) >= 2 && numbers[numbers.size() - 2] == kEnd) return numbers;
      continue;
    }
    for (const auto& [data_set, place] : batch) numbers.push_back(bases[data_set] + place);
    --num_batches;
  }
  return numbers;
}

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_LOADER_TESTING_H_
