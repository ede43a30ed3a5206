#ifndef HETERO_CKPT_WEIGHTS_EXPORT_H_
#define HETERO_CKPT_WEIGHTS_EXPORT_H_

// Tensors that lie on many ranks become safetensors files of whole tensors, as public models have
// them. Nothing is gathered: every rank writes its elements at their places in the files.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// The same on all ranks.
struct ExportOptions {
  // Where a file ends and another one begins; a tensor that has more lies in a file of its own.
  int64_t max_file_bytes = 5'000'000'000;
  // The name of the one file; empty: "model.safetensors", or several of them with an index.
  std::string file_name = {};
  std::map<std::string, std::string> metadata = {{"format", "pt"}};  // of every file
  // Tensors that no rank has and a reader of the files wants: those of `copied_from` whose names
  // fit one of the patterns ("*" any text, "?" any character). Null: none.
  const SafetensorsReader* copied_from = nullptr;
  std::vector<std::string> copied = {};
  // Host memory through which elements go. Precondition: one fits.
  int64_t buffer_bytes = int64_t{16} << 20;
};

// The same on all ranks but for `bytes_written`.
struct ExportReport {
  int64_t tensors = 0;
  int64_t files = 0;
  int64_t bytes = 0;          // of tensors, in all files
  int64_t bytes_written = 0;  // by this rank
};

// `tensors`: what this rank has, as NameMap::Apply gives it, valid in the order of `stream`. All
// members of the exchange call it. Files, in the order of names, are the same bytes whatever layout
// the ranks have, and are no safetensors files before all are whole. `folder` is made.
// Errors, the same on all ranks: ALREADY_EXISTS a folder with safetensors files, unless `file_name`
// says which one is replaced; INVALID_ARGUMENT naming key and ranks where types or shapes differ or
// elements have no writer, or two; those of reading, writing and of the exchange. While it writes,
// its buffer counts in `ledger`.
absl::StatusOr<ExportReport> ExportWeights(Storage& storage, const std::filesystem::path& folder,
                                           std::vector<CheckpointTensor> tensors,
                                           Exchange& exchange, const ExportOptions& options,
                                           Stream& stream, MemoryLedger& ledger);

}  // namespace hetero

#endif  // HETERO_CKPT_WEIGHTS_EXPORT_H_
