#ifndef HETERO_DATA_TEXT_TOKENIZER_H_
#define HETERO_DATA_TEXT_TOKENIZER_H_

// Text to ids and back, whatever the vocabulary is made of.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero::data {

struct TokenBounds {
  int64_t least = 0;
  int64_t most = 0;
};

// Does not change once it is made: ranks of a process share one.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Rows that a model needs: every id is below. Ids in between may stand for nothing.
  virtual int64_t vocabulary_size() const = 0;

  // Appends the ids of `text`, any bytes, without any that begin or end a text. On an error `ids`
  // has what it had.
  // Errors: INVALID_ARGUMENT naming the rule of the vocabulary that the text cannot be put through.
  virtual absl::Status Append(std::string_view text, std::vector<int32_t>& ids) const = 0;

  // The text of `ids`, special tokens as they are written.
  // Errors: INVALID_ARGUMENT naming position and id for one that stands for nothing.
  virtual absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const = 0;

  // The id of a token by its name, such as "<image>"; special tokens are meant, which text may or
  // may not give. Nothing where there is none.
  virtual std::optional<int32_t> Find(std::string_view token) const = 0;

  // A text of so many bytes has at least and at most so many tokens.
  virtual TokenBounds NumTokens(int64_t num_bytes) const = 0;
};

inline absl::StatusOr<std::vector<int32_t>> Encode(const Tokenizer& tokenizer,
                                                   std::string_view text) {
  std::vector<int32_t> ids;
  if (absl::Status status = tokenizer.Append(text, ids); !status.ok()) return status;
  return ids;
}

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_TOKENIZER_H_
