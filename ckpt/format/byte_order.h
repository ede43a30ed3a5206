#ifndef HETERO_CKPT_FORMAT_BYTE_ORDER_H_
#define HETERO_CKPT_FORMAT_BYTE_ORDER_H_

// Little-endian integers in text.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hetero {

inline void AppendLittle(std::string& out, uint64_t value, int num_bytes) {
  for (int i = 0; i < num_bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

// Precondition: `bytes` has num_bytes from `at` on.
inline uint64_t ReadLittle(std::string_view bytes, size_t at, int num_bytes) {
  uint64_t value = 0;
  for (int i = 0; i < num_bytes; ++i) {
    value |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  }
  return value;
}

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_BYTE_ORDER_H_
