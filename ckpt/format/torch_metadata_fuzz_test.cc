// Any bytes as a pickle and as an index of torch.distributed.checkpoint: no code of it runs, and an
// index that is accepted is read again as it was from what we write of it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/pickle.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/format/torch_object.h"

namespace {

using namespace hetero;  // NOLINT: a program of its own

void AsIndex(const std::string& bytes) {
  const absl::StatusOr<StoredIndex> index = ParseTorchMetadata(bytes);
  if (!index.ok()) return;
  const std::string text = TorchMetadataText(*index);
  const absl::StatusOr<StoredIndex> again = ParseTorchMetadata(text);
  CHECK_OK(again.status());
  CHECK_EQ(TorchMetadataText(*again), text);
}

void AsPickle(const std::string& bytes) {
  const absl::StatusOr<std::unique_ptr<Pickle>> pickle = Pickle::Parse(bytes);
  if (pickle.ok()) ToJson(**pickle).IgnoreError();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  AsPickle(bytes);
  AsIndex(bytes);
  return 0;
}
