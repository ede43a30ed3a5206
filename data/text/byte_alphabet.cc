#include "hetero/data/text/byte_alphabet.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace hetero::data {
namespace {

constexpr uint32_t kFirstStandIn = 0x100;
constexpr int kNumStandIns = 68;

constexpr bool IsVisible(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

// By character: the byte, or -1.
constexpr auto kBytes = [] {
  std::array<int16_t, kFirstStandIn + kNumStandIns> bytes = {};
  for (int16_t& byte : bytes) byte = -1;
  int stand_in = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    bytes[IsVisible(byte) ? byte : stand_in++] = static_cast<int16_t>(byte);
  }
  return bytes;
}();

static_assert(kBytes.back() == 0xad && kBytes[0x120] == ' ' && kBytes['a'] == 'a');

}  // namespace

std::optional<std::string> BytesOfToken(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const auto lead = static_cast<uint8_t>(token[0]);
    uint32_t character = lead;
    size_t length = 1;
    if (lead >= 0x80) {
      // All that stand for bytes have at most two bytes in UTF-8.
      if (token.size() < 2 || lead >= 0xe0) return std::nullopt;
      character = (lead & 0x1fu) << 6 | (static_cast<uint8_t>(token[1]) & 0x3fu);
      length = 2;
    }
    if (character >= kBytes.size() || kBytes[character] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytes[character]));
    token.remove_prefix(length);
  }
  return bytes;
}

}  // namespace hetero::data
