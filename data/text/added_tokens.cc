#include "hetero/data/text/added_tokens.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/data/text/utf8.h"
#include "hetero/data/text/white_space.h"

namespace hetero::data {
namespace {

std::string_view FirstCharacter(std::string_view text) {
  return text.substr(0, CharacterLength(text));
}

std::string_view LastCharacter(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xc0) == 0x80) --begin;
  return text.substr(begin);
}

absl::StatusOr<bool> Has(std::string_view character, const Regex& kind, Regex::Scratch& scratch) {
  HETERO_ASSIGN_OR_RETURN(const std::optional<Regex::Match> match,
                          kind.Find(character, 0, scratch));
  return match.has_value();
}

}  // namespace

absl::StatusOr<AddedTokenFinder> AddedTokenFinder::Create(std::vector<AddedToken> tokens) {
  // What the reference takes for a word: joiners belong to one too.
  HETERO_ASSIGN_OR_RETURN(Regex word, Regex::Compile("[\\w\\u200c\\u200d]"));
  return AddedTokenFinder(std::move(tokens), std::move(word));
}

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens, Regex word)
    : word_(std::move(word)) {
  for (AddedToken& token : tokens) {
    sizes_[static_cast<uint8_t>(token.content[0])].push_back(token.content.size());
    std::string content = token.content;
    tokens_.emplace(std::move(content), std::move(token));
  }
  for (std::vector<size_t>& sizes : sizes_) {
    std::ranges::sort(sizes, std::greater());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  }
}

const AddedToken* AddedTokenFinder::At(std::string_view text) const {
  for (const size_t size : sizes_[static_cast<uint8_t>(text[0])]) {
    if (size > text.size()) continue;
    const auto found = tokens_.find(text.substr(0, size));
    if (found != tokens_.end()) return &found->second;
  }
  return nullptr;
}

absl::StatusOr<std::optional<AddedTokenFinder::Range>> AddedTokenFinder::Extent(
    const AddedToken& token, std::string_view text, Range range, Regex::Scratch& scratch) const {
  if (token.single_word) {
    if (range.begin > 0) {
      HETERO_ASSIGN_OR_RETURN(const bool joined,
                              Has(LastCharacter(text.substr(0, range.begin)), word_, scratch));
      if (joined) return std::nullopt;
    }
    if (range.end < text.size()) {
      HETERO_ASSIGN_OR_RETURN(const bool joined,
                              Has(FirstCharacter(text.substr(range.end)), word_, scratch));
      if (joined) return std::nullopt;
    }
  }
  if (token.lstrip) range.begin = WithoutTrailingSpace(text.substr(0, range.begin)).size();
  if (token.rstrip) range.end = text.size() - WithoutLeadingSpace(text.substr(range.end)).size();
  return range;
}

absl::Status AddedTokenFinder::Run(std::string_view text, Regex::Scratch& scratch,
                                   absl::FunctionRef<absl::Status(std::string_view)> between,
                                   absl::FunctionRef<void(int32_t id)> token) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* const found = At(text.substr(at));
    if (found == nullptr) {
      ++at;
      continue;
    }
    const Range written = {at, at + found->content.size()};
    at = written.end;
    HETERO_ASSIGN_OR_RETURN(const std::optional<Range> range,
                            Extent(*found, text, written, scratch));
    if (!range.has_value()) continue;
    // White space that the token before has taken is its own.
    const size_t begin = std::max(range->begin, done);
    if (begin > done) {
      HETERO_RETURN_IF_ERROR(between(text.substr(done, begin - done)));
    }
    token(found->id);
    done = range->end;
  }
  if (done < text.size()) return between(text.substr(done));
  return absl::OkStatus();
}

}  // namespace hetero::data
