#ifndef HETERO_DATA_TAR_ENTRY_TESTING_H_
#define HETERO_DATA_TAR_ENTRY_TESTING_H_

// Parts of tar files, as bytes.

#include <array>
#include <string>
#include <string_view>

#include "hetero/data/tar/format.h"

namespace hetero::data {

// A member's header and its payload, padded.
inline std::string Entry(std::string_view name, std::string_view payload, char type = '0') {
  std::array<char, kTarBlockBytes> block;
  FormatTarHeader(name, payload.size(), type, block);
  std::string bytes(block.data(), block.size());
  bytes += payload;
  bytes.resize(kTarBlockBytes + TarPaddedSize(payload.size()));
  return bytes;
}

inline std::string EndMarker() { return std::string(2 * kTarBlockBytes, '\0'); }

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_ENTRY_TESTING_H_
