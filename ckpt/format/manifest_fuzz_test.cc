// Any bytes as a manifest: what is accepted is read again as it was from what we write of it, and
// every place lies in its file.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero;  // NOLINT: the function lives outside the namespace
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<Manifest> manifest = ParseManifest(bytes);
  if (!manifest.ok()) return 0;
  for (const auto& [key, tensor] : manifest->tensors) {
    for (const ManifestChunk& chunk : tensor.chunks) {
      CHECK_LE(chunk.offset + chunk.bytes, manifest->files.at(chunk.file).bytes);
    }
  }
  for (const auto& [name, object] : manifest->objects) {
    CHECK_LE(object.offset + object.bytes, manifest->files.at(object.file).bytes);
  }
  const std::string text = ManifestText(*manifest);
  const absl::StatusOr<Manifest> again = ParseManifest(text);
  CHECK_OK(again.status());
  CHECK_EQ(ManifestText(*again), text);
  BlockSums::Parse(*manifest, bytes).IgnoreError();
  return 0;
}
