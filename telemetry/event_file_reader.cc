#include "hetero/telemetry/event_file_reader.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// CRC-32C bit by bit (reflected polynomial 0x82f63b78), masked as TFRecord files do.
uint32_t MaskedCrc(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0u);
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

}  // namespace

absl::StatusOr<std::vector<TensorBoardEvent>> DecodeEvents(std::string_view bytes) {
  std::vector<TensorBoardEvent> events;
  const size_t total = bytes.size();
  while (!bytes.empty()) {
    const auto bad = [offset = total - bytes.size()](std::string_view what) {
      return absl::DataLossError(absl::StrCat("record at byte ", offset, ": ", what));
    };
    if (bytes.size() < 12) return bad("truncated header");
    const uint64_t length = LittleEndian(bytes.substr(0, 8));
    if (MaskedCrc(bytes.substr(0, 8)) != LittleEndian(bytes.substr(8, 4))) {
      return bad("wrong checksum of the length");
    }
    bytes.remove_prefix(12);
    if (bytes.size() < 4 || bytes.size() - 4 < length) return bad("truncated payload");
    const std::string_view payload = bytes.substr(0, length);
    if (MaskedCrc(payload) != LittleEndian(bytes.substr(length, 4))) {
      return bad("wrong checksum of the payload");
    }
    if (!events.emplace_back().ParseFromArray(payload.data(), static_cast<int>(length))) {
      return bad("no event");
    }
    bytes.remove_prefix(length + 4);
  }
  return events;
}

absl::StatusOr<std::vector<TensorBoardEvent>> ReadEventsIn(const std::string& directory) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (absl::StartsWith(entry.path().filename().string(), "events.out.tfevents.")) {
      paths.push_back(entry.path().string());
    }
  }
  if (paths.size() != 1) {
    return absl::NotFoundError(absl::StrCat(paths.size(), " event files in ", directory));
  }
  std::ifstream file(paths[0], std::ios::binary);
  return DecodeEvents(std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace hetero
