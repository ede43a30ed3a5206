#include "hetero/data/text/pre_tokenizer.h"

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/text/utf8.h"

namespace hetero::data {
namespace {

using Range = PreTokenizer::Range;

// The pieces of a text, which come as matches and gaps in turn.
class Pieces {
 public:
  Pieces(SplitBehavior behavior, std::vector<Range>& out) : behavior_(behavior), out_(out) {
    out_.clear();
  }

  void Add(Range range, bool is_match) {
    switch (behavior_) {
      case SplitBehavior::kIsolated:
        Append(range);
        break;
      case SplitBehavior::kRemoved:
        if (!is_match) Append(range);
        break;
      case SplitBehavior::kMergedWithPrevious:
        // A match that follows a match stands alone.
        if (is_match && !last_is_match_ && !out_.empty()) {
          out_.back().end = range.end;
        } else {
          Append(range);
        }
        break;
      case SplitBehavior::kMergedWithNext:
        if (!is_match && last_is_match_) {
          out_.back().end = range.end;
        } else {
          Append(range);
        }
        break;
      case SplitBehavior::kContiguous:
        if (is_match == last_is_match_ && !out_.empty()) {
          out_.back().end = range.end;
        } else {
          Append(range);
        }
        break;
    }
    last_is_match_ = is_match;
  }

 private:
  void Append(Range range) { out_.push_back(range); }

  SplitBehavior behavior_;
  std::vector<Range>& out_;
  bool last_is_match_ = false;
};

absl::Status Cut(const SplitStage& stage, std::string_view text, Regex::Scratch& scratch,
                 std::vector<Range>& out) {
  Pieces pieces(stage.behavior, out);
  size_t done = 0;
  std::optional<size_t> last_end;
  for (size_t from = 0; from <= text.size();) {
    HETERO_ASSIGN_OR_RETURN(const std::optional<Regex::Match> match,
                            stage.regex.Find(text, from, scratch));
    if (!match.has_value()) break;
    const bool is_empty = match->begin == match->end;
    // Right behind a match an empty one is none.
    if (!is_empty || match->begin != last_end) {
      if (match->begin > done) pieces.Add({done, match->begin}, stage.invert);
      pieces.Add({match->begin, match->end}, !stage.invert);
      done = match->end;
      last_end = match->end;
    }
    from = match->end;
    if (is_empty) {
      if (from == text.size()) break;
      from += CharacterLength(text.substr(from));
    }
  }
  if (done < text.size()) pieces.Add({done, text.size()}, stage.invert);
  return absl::OkStatus();
}

}  // namespace

absl::Status PreTokenizer::Run(std::string_view text, Scratch& scratch,
                               absl::FunctionRef<void(std::string_view)> word) const {
  scratch.pieces.resize(stages_.size());
  if (text.empty()) return absl::OkStatus();
  return RunFrom(0, text, scratch, word);
}

absl::Status PreTokenizer::RunFrom(size_t number, std::string_view text, Scratch& scratch,
                                   absl::FunctionRef<void(std::string_view)> word) const {
  if (number == stages_.size()) {
    word(text);
    return absl::OkStatus();
  }
  const SplitStage& stage = stages_[number];
  std::string prefixed;
  if (stage.add_prefix_space && !absl::StartsWith(text, " ")) {
    prefixed = absl::StrCat(" ", text);
    text = prefixed;
  }
  std::vector<Range>& pieces = scratch.pieces[number];
  HETERO_RETURN_IF_ERROR(Cut(stage, text, scratch.regex, pieces));
  for (const Range piece : pieces) {
    if (piece.begin == piece.end) continue;
    HETERO_RETURN_IF_ERROR(
        RunFrom(number + 1, text.substr(piece.begin, piece.end - piece.begin), scratch, word));
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
