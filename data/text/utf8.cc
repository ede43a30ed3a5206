#include "hetero/data/text/utf8.h"

#include <cstdint>
#include <cstring>

namespace hetero::data {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// The character at the front of a text, or what there is of one.
struct Character {
  size_t num_bytes;  // at least 1
  bool is_whole;
};

// Table 3-7 of the Standard: what may follow a lead byte differs in the second byte alone.
Character FirstCharacter(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xc2 || lead > 0xf4) return {1, false};
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  const uint8_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const uint8_t most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (text.size() < 2 || byte(1) < least || byte(1) > most) return {1, false};
  for (size_t i = 2; i < length; ++i) {
    if (i == text.size() || (byte(i) & 0xc0) != 0x80) return {i, false};
  }
  return {length, true};
}

// Bytes of `text` from its front that are whole characters.
size_t ValidPrefix(std::string_view text) {
  size_t size = 0;
  while (size < text.size()) {
    // Eight bytes of ASCII at a time.
    uint64_t word;
    while (size + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + size, sizeof(word));
      if ((word & 0x8080808080808080) != 0) break;
      size += sizeof(word);
    }
    if (size == text.size()) break;
    const Character next = FirstCharacter(text.substr(size));
    if (!next.is_whole) break;
    size += next.num_bytes;
  }
  return size;
}

}  // namespace

size_t CharacterLength(std::string_view text) {
  const Character first = FirstCharacter(text);
  return first.is_whole ? first.num_bytes : 0;
}

std::string_view ToUtf8(std::string_view text, std::string& storage) {
  size_t valid = ValidPrefix(text);
  if (valid == text.size()) return text;
  storage.clear();
  while (true) {
    storage.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) return storage;
    storage.append(kReplacement);
    text.remove_prefix(FirstCharacter(text).num_bytes);
    valid = ValidPrefix(text);
  }
}

}  // namespace hetero::data
