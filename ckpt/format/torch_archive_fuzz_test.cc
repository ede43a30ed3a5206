// Any bytes as an archive of PyTorch and as an item of it: what is accepted lies within the bytes.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/file_range.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_object.h"
#include "hetero/ckpt/format/zip.h"
#include "nlohmann/json.hpp"

namespace {

using namespace hetero;  // NOLINT: a program of its own

void AsArchive(std::string_view bytes) {
  const TextFile file(bytes);
  const absl::StatusOr<std::vector<ZipRecord>> records = ReadZipDirectory(file);
  if (!records.ok()) return;
  for (const ZipRecord& record : *records) {
    CHECK_LE(record.offset + record.bytes, file.size());
    ReadZipRecord(file, record).IgnoreError();
  }
  if (const absl::StatusOr<TorchItem> item = ReadTorchItem(file); item.ok()) {
    CHECK_LE(item->payload_offset + item->payload_bytes, file.size());
    CHECK_EQ(item->payload_bytes, *PayloadBytes(item->type, item->shape));
  }
  const absl::StatusOr<nlohmann::json> object = ReadObject(file);
  if (object.ok()) CHECK(!object->dump().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  AsArchive(bytes);
  return 0;
}
