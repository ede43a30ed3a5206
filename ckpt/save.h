#ifndef HETERO_CKPT_SAVE_H_
#define HETERO_CKPT_SAVE_H_

// Writes the files of a checkpoint. Every rank writes its share: boxes that several hold are
// divided among them by bytes. Member 0 writes what describes them. Publication, retention and
// leases are ckpt/publish.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "nlohmann/json.hpp"

namespace hetero {

struct FileLayout;
struct FilePlan;

struct SaveOptions {
  std::string save_id;  // the same on all ranks
  int64_t iteration = 0;
  std::string agreed;  // the same on all ranks: what else the state is of, in words
  std::string key_style = "mcore";
  // Of member 0, for the manifest: how ranks were arranged; counters, schedules, streams, cursors.
  nlohmann::json grids = nlohmann::json::object();
  nlohmann::json state = nlohmann::json::object();
  // Of member 0, for other readers: what common.pt holds.
  nlohmann::json common = nlohmann::json::object();
  int num_files = 2;  // of a rank, each with a thread
  // Memory of this rank through which state goes to the files, taken whatever it has to write; 0: a
  // quarter of that. At least two blocks a file.
  int64_t ring_bytes = 0;
  int64_t max_chunk_bytes = int64_t{1} << 30;  // longer ones are cut along their first dim
  // What is constant goes to a file of its own. Where `previous`, the directory of an earlier save
  // of this Saver, still has it, that file gets a second name instead of being written again.
  bool incremental = false;
  std::string previous = {};
};

struct SaveReport {
  int64_t bytes = 0;         // in the files of this rank
  int64_t linked_bytes = 0;  // of these, in a file of an earlier save
  int64_t total_bytes = 0;   // of all ranks
  int64_t ring_bytes = 0;    // of memory that the state went through
  int64_t ring_waits = 0;    // how often copying waited for that, as it was not ready
  bool plan_cached = false;  // nothing of the structure had changed since the last save or Prepare
  absl::Duration planned;    // until the plan stood
  absl::Duration copied;     // from then until the state might change
  absl::Duration written;    // from then until the last file was closed
};

// The saves of one rank, one at a time. All members of the exchange call the same in the same
// order. An error of a member is that of all: nobody is left waiting.
class Saver {
 public:
  // All outlive the saver. The memory that it makes ready counts in `ledger`.
  Saver(Storage& storage, Exchange& exchange, MemoryLedger& ledger);
  // Ends a save in flight: its threads stop after the block that they write.
  ~Saver();

  // Makes ready what the first Begin of such a save needs: the plan of all ranks and, on a thread,
  // memory, which `device` copies to. Without it Begin does. Precondition: no save has begun.
  // Errors: those of Begin.
  absl::Status Prepare(const CheckpointState& state, const SaveOptions& options, Device device);

  // Starts to save into the existing, empty `directory`. What `stream` holds now is done before
  // state is read. Tensors stay as they are until AwaitCopied has returned.
  // Errors: before any file exists INVALID_ARGUMENT naming key, box and ranks: a tensor or object
  // that ranks describe differently, two write or nobody, or options that differ;
  // RESOURCE_EXHAUSTED a file system without room for it all; FAILED_PRECONDITION a save in flight.
  absl::Status Begin(std::string_view directory, const CheckpointState& state,
                     const SaveOptions& options, Stream& stream);

  // Returns when the state may change; without a save in flight at once. Not collective. What went
  // wrong on the way is told by Finish.
  void AwaitCopied();

  bool in_flight() const;

  // Whether this rank's files are written, or a failure is known: Finish will not wait for this
  // rank. Not collective.
  bool IsWritten() const;

  // Gives up the save in flight: its threads end after the block that they write, and Finish tells
  // `why`. Not collective, but all members call it.
  void Cancel(const absl::Status& why);

  // Waits for the files of all ranks; member 0 then writes the index, common state and manifest and
  // syncs the directory. What is left of a save that failed is of no use to anybody.
  // Errors: the first failure of a rank, the same on all.
  absl::StatusOr<SaveReport> Finish();

 private:
  struct Flight;
  struct Kept;

  absl::Status MakePlan(const CheckpointState& state, std::string_view directory,
                        const SaveOptions& options);
  absl::StatusOr<FileLayout> LayOut(const CheckpointState& state, const SaveOptions& options);
  absl::Status StartFlight(std::string_view directory, const CheckpointState& state,
                           const SaveOptions& options, Stream& stream);
  absl::StatusOr<SaveReport> Land(Flight& flight);
  // Whether `directory` has now the file with constants of an earlier save.
  bool LinkConstants(const FilePlan& constants, std::string_view directory,
                     const SaveOptions& options);

  Storage& storage_;
  Exchange& exchange_;
  std::unique_ptr<Kept> kept_;  // from save to save
  std::unique_ptr<Flight> flight_;
};

// Begin and Finish.
absl::StatusOr<SaveReport> Save(Storage& storage, std::string_view directory,
                                const CheckpointState& state, Exchange& exchange,
                                const SaveOptions& options, Stream& stream, MemoryLedger& ledger);

}  // namespace hetero

#endif  // HETERO_CKPT_SAVE_H_
