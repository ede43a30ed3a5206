// Any bytes as a safetensors file or as an index: a header that is accepted covers the file, and is
// read again as it was from what we write of it.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/safetensors/header.h"
#include "hetero/ckpt/safetensors/index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero;  // NOLINT: the function lives outside the namespace
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ParseSafetensorsIndex(bytes).IgnoreError();
  const int64_t file_bytes = static_cast<int64_t>(size);
  const absl::StatusOr<int64_t> length =
      ParseSafetensorsLength(bytes.substr(0, kSafetensorsLengthBytes), file_bytes);
  if (!length.ok()) return 0;
  const int64_t buffer_bytes = file_bytes - kSafetensorsLengthBytes - *length;
  const absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(bytes.substr(kSafetensorsLengthBytes, *length), buffer_bytes);
  if (!header.ok()) return 0;
  CHECK_EQ(header->buffer_bytes(), buffer_bytes);
  const std::string head = SafetensorsHead(*header);
  CHECK_EQ(head.size() % 8, size_t{0});
  const absl::StatusOr<SafetensorsHeader> again =
      ParseSafetensorsHeader(std::string_view(head).substr(kSafetensorsLengthBytes), buffer_bytes);
  CHECK_OK(again.status());
  CHECK_EQ(SafetensorsHead(*again), head);
  CHECK(again->metadata == header->metadata);
  return 0;
}
