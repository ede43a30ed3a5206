#ifndef HETERO_CKPT_FORMAT_MANIFEST_H_
#define HETERO_CKPT_FORMAT_MANIFEST_H_

// What our own readers read of a checkpoint: manifest.json with the place and checksum of all that
// is stored, manifest.crc with the checksum of every block, COMMIT with the hash of manifest.json.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/plan/box.h"
#include "nlohmann/json.hpp"

namespace hetero {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kBlockSumsName = "manifest.crc";
inline constexpr std::string_view kCommitName = "COMMIT";

inline constexpr int64_t kBlockBytes = int64_t{4} << 20;

struct ManifestFile {
  std::string name;
  int64_t bytes = 0;
  uint32_t crc32 = 0;
};

// A box of a tensor: its elements in row-major order.
struct ManifestChunk {
  int file = 0;        // of Manifest::files
  int64_t offset = 0;  // of the elements
  int64_t bytes = 0;
  uint32_t crc32 = 0;
  Box box;
};

struct ManifestTensor {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;
  std::vector<ManifestChunk> chunks;
};

// A value that is stored whole, as an archive (torch_object.h).
struct ManifestObject {
  int file = 0;
  int64_t offset = 0;  // of the archive
  int64_t bytes = 0;
  uint32_t crc32 = 0;
};

struct Manifest {
  std::string save_id;
  int64_t iteration = 0;
  std::string container = "torch_dist";
  std::string key_style = "mcore";
  int64_t world_size = 1;
  nlohmann::json grids = nlohmann::json::object();
  nlohmann::json state = nlohmann::json::object();
  std::vector<ManifestFile> files;  // all of the directory but manifest.json and COMMIT
  std::map<std::string, ManifestTensor> tensors;
  std::map<std::string, ManifestObject> objects;
  int64_t block_bytes = kBlockBytes;
};

// One file, tensor and object a line, by name. Every number of `grids` and `state` is read back as
// it was, those that are not finite as well. Precondition: their text is UTF-8.
std::string ManifestText(const Manifest& manifest);

// DATA_LOSS naming field, key and value for what is no manifest, for a place outside of its file or
// over another one's, for a box outside of its tensor or of another size than its bytes, for boxes
// that leave out or share an element. FAILED_PRECONDITION for another version or container.
absl::StatusOr<Manifest> ParseManifest(std::string_view text);

// Blocks of a chunk: `block_bytes` each but the last, counted from the chunk's first byte.
int64_t NumBlocks(const ManifestChunk& chunk, int64_t block_bytes);

// The checksums of all blocks, in the order of tensors by key and of their chunks.
class BlockSums {
 public:
  // DATA_LOSS when `text` does not have the number of them.
  static absl::StatusOr<BlockSums> Parse(const Manifest& manifest, std::string_view text);

  // Of the chunk that `manifest.tensors.at(key).chunks` has at `chunk`. Precondition: it has.
  std::span<const uint32_t> Of(std::string_view key, size_t chunk) const;

 private:
  std::vector<uint32_t> sums_;
  // Of a key: where the sums of its chunks begin, and where those of the last end.
  std::map<std::string, std::vector<size_t>, std::less<>> starts_;
};

// The text of manifest.crc.
std::string BlockSumsText(std::span<const uint32_t> sums);

// "sha256 HEX manifest.json\n".
std::string CommitText(std::string_view manifest_text);

// DATA_LOSS naming both hashes when `commit` is not that of `manifest_text`.
absl::Status CheckCommit(std::string_view commit, std::string_view manifest_text);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_MANIFEST_H_
