#ifndef HETERO_CKPT_LOAD_H_
#define HETERO_CKPT_LOAD_H_

// Fills a rank's tensors and objects from a checkpoint that any number of ranks wrote in any
// layout. Each stored byte that several ranks want is read by one of them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/stream.h"
#include "nlohmann/json.hpp"

namespace hetero {

struct LoadOptions {
  // Keys and object names that may be absent from the checkpoint and then keep their values: "*"
  // stands for any text, "?" for any character. A pattern that no absent key matches is an error.
  std::vector<std::string> allow_missing = {};
  // Likewise, of what not every writer has: nothing is said of it, whether it is there or not.
  std::vector<std::string> optional = {};
  // What nobody wants is an error too, but for names that one of the patterns in `may_be_unused`
  // fits.
  bool refuse_unused = false;
  std::vector<std::string> may_be_unused = {};
  // Where the stored type is another than the wanted one, f32 becomes bf16, bf16 f32, and both f64.
  bool cast = false;
  // What others wrote is read too, without checksums: a directory of Megatron or
  // torch.distributed.checkpoint, or the folder of a public model with safetensors files.
  bool foreign = false;
  int num_readers = 2;  // threads of this rank
};

// The same on all ranks but for `bytes_read`.
struct LoadReport {
  int64_t iteration = 0;
  nlohmann::json state;  // of the manifest
  nlohmann::json grids;
  bool foreign = false;
  std::vector<std::string> kept;    // were absent and keep their values
  std::vector<std::string> unused;  // in the checkpoint, and nobody wanted them
  std::vector<std::string> cast;    // "key: f32 -> bf16"
  int64_t tensors = 0;              // that were filled
  int64_t bytes = 0;                // wanted, of all ranks
  int64_t bytes_read = 0;           // from storage by this rank
  absl::Duration took;

  nlohmann::json ToJson() const;  // for resume_report.json
};

// Fills `state` in order of `stream`. Keys are compared without "module." in them; a row of a
// stacked tensor serves as a tensor of one layer, and the reverse; names of safetensors files are
// taken as they are. Keys whose last part is "_extra_state" may be absent. Of files of others a
// rank reads its own ranges and what lies between them, of ours whole blocks.
// Errors, the same on all ranks, before anything is changed: NOT_FOUND naming every absent key, who
// wants it and the nearest stored names; INVALID_ARGUMENT shapes and types that differ, and names
// that nobody wants with the nearest keys; DATA_LOSS an index that is damaged or a tensor that its
// chunks do not cover once. Later, with tensors changed: DATA_LOSS naming file, key, block and
// checksums. While it reads, memory that files are read to counts in `ledger`.
absl::StatusOr<LoadReport> Load(Storage& storage, std::string_view directory,
                                CheckpointState& state, Exchange& exchange,
                                const LoadOptions& options, Stream& stream, MemoryLedger& ledger);

}  // namespace hetero

#endif  // HETERO_CKPT_LOAD_H_
