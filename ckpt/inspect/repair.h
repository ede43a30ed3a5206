#ifndef HETERO_CKPT_INSPECT_REPAIR_H_
#define HETERO_CKPT_INSPECT_REPAIR_H_

// Makes files of a checkpoint again that follow from its manifest and its tensors: the index of
// torch.distributed.checkpoint (.metadata), metadata.json and the checksums of blocks
// (manifest.crc).

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// Of those three each that is absent or not what the manifest says, each put in its place at one
// instant. Returns their names. A file that was made again is the one that was written, byte by
// byte, or it is not put there.
// Errors: those of ReadCommittedManifest and ParseManifest: without them nothing else can be
// believed; DATA_LOSS naming a tensor and its block when manifest.crc is to be made of elements
// that are damaged too, or a file that comes out as another one than was written; those of the
// storage.
absl::StatusOr<std::vector<std::string>> RepairCheckpoint(Storage& storage,
                                                          const std::filesystem::path& directory);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_REPAIR_H_
