#ifndef HETERO_DATA_TEXT_BYTE_PAIR_H_
#define HETERO_DATA_TEXT_BYTE_PAIR_H_

// Byte-pair encoding of words (Sennrich et al., 2016) over bytes.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero::data {

// Ids of tokens by the bytes they stand for.
using ByteVocabulary = absl::flat_hash_map<std::string, int32_t>;

// Does not change once it is made; any number of threads use it.
class BytePair {
 public:
  // Two tokens become the one that is their bytes together; those that come first are merged
  // first. `takes_whole_words`: a word that is a token is that token, whatever merges would give.
  // Errors: INVALID_ARGUMENT naming the byte or the merge that the vocabulary has no token for.
  static absl::StatusOr<BytePair> Create(
      ByteVocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
      bool takes_whole_words);

  // Appends the ids of `word`, which is not empty.
  void Append(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    int32_t rank;
    int32_t id;
  };

  BytePair() = default;
  // Null where the pair is not merged.
  const Merge* Find(int32_t left, int32_t right) const;
  void MergeShort(std::string_view word, std::vector<int32_t>& ids) const;
  void MergeLong(std::string_view word, std::vector<int32_t>& ids) const;

  std::array<int32_t, 256> byte_ids_ = {};
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by the ids of both
  // Words that are one token at the end: most words are, and need no merging.
  ByteVocabulary whole_words_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_BYTE_PAIR_H_
