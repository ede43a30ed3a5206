// Any bytes as an index of torch.distributed.checkpoint, as an archive and as an item of it: what
// is accepted lies within the bytes, and an index is read again as it was from what we write of it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/file_range.h"
#include "hetero/ckpt/format/pickle.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_metadata.h"
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

void AsIndex(std::string_view bytes) {
  const absl::StatusOr<StoredIndex> index = ParseTorchMetadata(std::string(bytes));
  if (!index.ok()) return;
  const std::string text = TorchMetadataText(*index);
  const absl::StatusOr<StoredIndex> again = ParseTorchMetadata(text);
  CHECK_OK(again.status());
  CHECK_EQ(TorchMetadataText(*again), text);
}

void AsPickle(std::string_view bytes) {
  const absl::StatusOr<std::unique_ptr<Pickle>> pickle = Pickle::Parse(std::string(bytes));
  if (pickle.ok()) ToJson(**pickle).IgnoreError();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  AsArchive(bytes);
  AsPickle(bytes);
  AsIndex(bytes);
  return 0;
}
