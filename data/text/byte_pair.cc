#include "hetero/data/text/byte_pair.h"

#include <cstddef>
#include <queue>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hetero::data {
namespace {

// Up to here looking at every pair before each merge is faster than a queue.
constexpr size_t kShortWord = 48;

constexpr int32_t kNone = -1;

uint64_t Pair(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

std::string Quoted(std::string_view bytes) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(bytes), "\"");
}

}  // namespace

absl::StatusOr<BytePair> BytePair::Create(
    ByteVocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
    bool takes_whole_words) {
  BytePair pairs;
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = vocabulary.find(std::string(1, static_cast<char>(byte)));
    if (found == vocabulary.end()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "vocab has no token for the byte 0x%02x; it must have one for each of the 256", byte));
    }
    pairs.byte_ids_[byte] = found->second;
  }
  pairs.merges_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    const auto id_of = [&](const std::string& bytes) {
      const auto found = vocabulary.find(bytes);
      return found == vocabulary.end() ? kNone : found->second;
    };
    const int32_t left_id = id_of(left), right_id = id_of(right), id = id_of(left + right);
    if (left_id == kNone || right_id == kNone || id == kNone) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "merges[%d] is %s and %s, vocab has no token %s", i, Quoted(left), Quoted(right),
          Quoted(left_id == kNone    ? left
                 : right_id == kNone ? right
                                     : left + right)));
    }
    // Of a pair that is there twice the last place counts, as in Hugging Face's tokenizers.
    pairs.merges_.insert_or_assign(Pair(left_id, right_id), Merge{static_cast<int32_t>(i), id});
  }
  if (takes_whole_words) {
    pairs.whole_words_ = std::move(vocabulary);
    return pairs;
  }
  std::vector<int32_t> ids;
  for (const auto& [word, id] : vocabulary) {
    if (word.empty()) continue;
    ids.clear();
    pairs.Append(word, ids);
    if (ids.size() == 1 && ids[0] == id) pairs.whole_words_.emplace(word, id);
  }
  return pairs;
}

const BytePair::Merge* BytePair::Find(int32_t left, int32_t right) const {
  const auto found = merges_.find(Pair(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePair::Append(std::string_view word, std::vector<int32_t>& ids) const {
  if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) {
    ids.push_back(whole->second);
  } else if (word.size() <= kShortWord) {
    MergeShort(word, ids);
  } else {
    MergeLong(word, ids);
  }
}

void BytePair::MergeShort(std::string_view word, std::vector<int32_t>& ids) const {
  std::array<int32_t, kShortWord> symbols;
  std::array<const Merge*, kShortWord> merges;  // of a symbol and the next
  size_t size = word.size();
  for (size_t i = 0; i < size; ++i) symbols[i] = byte_ids_[static_cast<uint8_t>(word[i])];
  for (size_t i = 0; i + 1 < size; ++i) merges[i] = Find(symbols[i], symbols[i + 1]);
  while (size > 1) {
    size_t best = size;
    for (size_t i = 0; i + 1 < size; ++i) {
      if (merges[i] == nullptr) continue;
      if (best == size || merges[i]->rank < merges[best]->rank) best = i;
    }
    if (best == size) break;
    symbols[best] = merges[best]->id;
    --size;
    for (size_t i = best + 1; i < size; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i - 1] = merges[i];
    }
    if (best > 0) merges[best - 1] = Find(symbols[best - 1], symbols[best]);
    if (best + 1 < size) merges[best] = Find(symbols[best], symbols[best + 1]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + size);
}

void BytePair::MergeLong(std::string_view word, std::vector<int32_t>& ids) const {
  // Symbols stay where their first byte was; one that is merged into the one before has no id.
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
  };
  // Rank, place of the left symbol, ids of both.
  using Candidate = std::tuple<int32_t, int32_t, int32_t, int32_t>;
  const auto size = static_cast<int32_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int32_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const int32_t right_id = symbols[symbols[left].next].id;
    const Merge* merge = Find(symbols[left].id, right_id);
    if (merge != nullptr) queue.emplace(merge->rank, left, symbols[left].id, right_id);
  };
  for (int32_t i = 0; i < size; ++i) {
    symbols[i] = {byte_ids_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < size ? i + 1 : kNone};
  }
  for (int32_t i = 0; i < size; ++i) offer(i);
  while (!queue.empty()) {
    const auto [rank, place, left_id, right_id] = queue.top();
    queue.pop();
    Symbol& left = symbols[place];
    if (left.id != left_id || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    if (right.id != right_id) continue;
    left.id = Find(left_id, right_id)->id;
    right.id = kNone;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = place;
    offer(left.previous);
    offer(place);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.id != kNone) ids.push_back(symbol.id);
  }
}

}  // namespace hetero::data
