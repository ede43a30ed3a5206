#ifndef HETERO_DATA_TEXT_PRE_TOKENIZER_H_
#define HETERO_DATA_TEXT_PRE_TOKENIZER_H_

// Cuts text into the words inside which tokens are merged, as the pre-tokenizers of Hugging Face do
// in front of a byte-level vocabulary.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "hetero/data/text/regex.h"

namespace hetero::data {

// What becomes of the matches of an expression, and of what lies between them.
enum class SplitBehavior {
  kIsolated,            // both are pieces
  kRemoved,             // only what lies between is
  kMergedWithPrevious,  // a match ends the piece before it
  kMergedWithNext,      // a match begins the piece behind it
  kContiguous,          // both are, matches that touch are one
};

// One after another each cuts every piece of the one before; none sees beyond its piece.
struct SplitStage {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // matches and what lies between change places
  // A piece that does not begin with a space gets one before it is cut.
  bool add_prefix_space = false;
};

// Does not change once it is made; any number of threads use it, each with a scratch of its own.
class PreTokenizer {
 public:
  struct Range {
    size_t begin;
    size_t end;
  };

  struct Scratch {
    Regex::Scratch regex;
    std::vector<std::vector<Range>> pieces;  // of each stage
  };

  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<SplitStage> stages) : stages_(std::move(stages)) {}

  // Calls `word` with each piece in order; none is empty. Precondition: `text` is UTF-8.
  // Errors: those of Regex::Find.
  absl::Status Run(std::string_view text, Scratch& scratch,
                   absl::FunctionRef<void(std::string_view)> word) const;

 private:
  absl::Status RunFrom(size_t stage, std::string_view text, Scratch& scratch,
                       absl::FunctionRef<void(std::string_view)> word) const;

  std::vector<SplitStage> stages_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_PRE_TOKENIZER_H_
