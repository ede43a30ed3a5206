// Any bytes as a tar file or as the range of a sample: scanning ends in samples that lie inside the
// bytes, or in an error.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/file.h"
#include "hetero/data/tar/scanner.h"
#include "hetero/data/tar/shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero::data;  // NOLINT: the function lives outside the namespace
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  RawSample sample;
  sample.buffer = bytes;
  if (ParseSample("fuzz.tar", 0, sample).ok()) CHECK(!sample.parts.empty());
  const absl::StatusOr<ShardContents> contents = ScanShard(MemoryFile(bytes), "fuzz.tar");
  if (!contents.ok()) return 0;
  CHECK_LE(contents->end_offset, size);
  for (const SampleEntry& sample : contents->samples) {
    for (const PartEntry& part : sample.parts) {
      CHECK_LE(part.payload_offset + part.payload_size, size);
    }
  }
  return 0;
}
