#include "hetero/ckpt/save.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/file_layout.h"
#include "hetero/ckpt/index_writer.h"
#include "hetero/ckpt/save_memory.h"
#include "hetero/ckpt/save_planner.h"
#include "hetero/ckpt/snapshot.h"
#include "hetero/ckpt/snapshot_ring.h"

namespace hetero {
struct Saver::Kept {
  Kept(Exchange& exchange, MemoryLedger& ledger) : planner(exchange), ring(ledger) {}

  SavePlanner planner;
  SnapshotRing ring;
  std::optional<FilePlan> constants;  // as they were written last
  // Of the plan and these options, for what has no constants apart; of use to one save at a time.
  std::optional<FileLayout> layout;
  int num_files = 0;
  int64_t max_chunk_bytes = 0;
  bool incremental = false;
};

struct Saver::Flight {
  std::filesystem::path directory;
  SaveOptions options;
  FileLayout layout;  // without files, which the snapshot has
  std::unique_ptr<Snapshot> snapshot;
  bool linked = false;  // the file with constants is one of an earlier save
  SaveReport report;
};

namespace {

// What is known of a file that is written.
FilePlan WithoutSources(FilePlan file) {
  for (FileItem& item : file.items) {
    item.local = {};
    item.runs = {};
    item.source = nullptr;
  }
  return file;
}

// Whether the two would hold the same, of two saves of one state.
bool SamePlaces(const FilePlan& a, const FilePlan& b) {
  return a.name == b.name && a.bytes == b.bytes &&
         std::ranges::equal(a.items, b.items, [](const FileItem& x, const FileItem& y) {
           return x.box == y.box && x.offset == y.offset && x.dtype == y.dtype;
         });
}

}  // namespace

bool Saver::LinkConstants(const FilePlan& constants, std::string_view directory,
                          const SaveOptions& options) {
  if (options.previous.empty() || !kept_->constants.has_value() ||
      !SamePlaces(*kept_->constants, constants)) {
    return false;
  }
  const std::filesystem::path from = std::filesystem::path(options.previous) / constants.name;
  const absl::StatusOr<std::unique_ptr<ReadableFile>> file = storage_.Open(from);
  if (!file.ok() || (*file)->size() != constants.bytes) return false;
  const absl::Status linked =
      storage_.Link(from, std::filesystem::path(directory) / constants.name);
  if (!linked.ok()) LOG(WARNING) << "constants are written again: " << linked.message();
  return linked.ok();
}

Saver::Saver(Storage& storage, Exchange& exchange, MemoryLedger& ledger)
    : storage_(storage), exchange_(exchange), kept_(std::make_unique<Kept>(exchange, ledger)) {}

Saver::~Saver() { Cancel(absl::AbortedError("the saver is gone")); }

void Saver::Cancel(const absl::Status& why) {
  if (in_flight()) flight_->snapshot->Cancel(why);
}

absl::Status Saver::MakePlan(const CheckpointState& state, std::string_view directory,
                             const SaveOptions& options) {
  HETERO_RETURN_IF_ERROR(kept_->planner.Update(state, directory, options));
  if (!kept_->planner.cached()) kept_->layout.reset();
  return absl::OkStatus();
}

absl::StatusOr<FileLayout> Saver::LayOut(const CheckpointState& state, const SaveOptions& options) {
  std::optional<FileLayout> layout = std::exchange(kept_->layout, std::nullopt);
  if (layout.has_value() && kept_->num_files == options.num_files &&
      kept_->max_chunk_bytes == options.max_chunk_bytes &&
      kept_->incremental == options.incremental && Rebind(state, *layout)) {
    return *std::move(layout);
  }
  kept_->num_files = options.num_files;
  kept_->max_chunk_bytes = options.max_chunk_bytes;
  kept_->incremental = options.incremental;
  return LayOutFiles(kept_->planner.plan(), exchange_.rank(), state, options.num_files,
                     options.max_chunk_bytes, options.incremental);
}

absl::Status Saver::StartFlight(std::string_view directory, const CheckpointState& state,
                                const SaveOptions& options, Stream& stream) {
  auto flight = std::make_unique<Flight>();
  flight->directory = directory;
  flight->options = options;
  absl::StatusOr<FileLayout> layout = LayOut(state, options);
  HETERO_RETURN_IF_ERROR(exchange_.Agree(layout.status(), "checkpoint.ready"));
  flight->layout = *std::move(layout);
  flight->report.bytes = flight->layout.bytes();
  flight->report.plan_cached = kept_->planner.cached();
  std::vector<FilePlan>& files = flight->layout.files;
  flight->linked = flight->layout.has_constants && LinkConstants(files.back(), directory, options);
  if (flight->linked) {
    flight->report.linked_bytes = files.back().bytes;
    files.pop_back();
  }
  const int64_t ring_bytes = RingBytes(files, options);
  absl::StatusOr<std::unique_ptr<Snapshot>> snapshot = Snapshot::Start(
      storage_, flight->directory, std::exchange(files, {}), ring_bytes, kept_->ring, stream);
  const absl::Status started = exchange_.Agree(snapshot.status(), "checkpoint.start");
  if (!started.ok()) {
    if (snapshot.ok()) (*snapshot)->Cancel(started);
    return started;
  }
  flight->snapshot = *std::move(snapshot);
  flight_ = std::move(flight);
  return absl::OkStatus();
}

absl::Status Saver::Prepare(const CheckpointState& state, const SaveOptions& options,
                            Device device) {
  HETERO_RETURN_IF_ERROR(MakePlan(state, "", options));
  absl::StatusOr<FileLayout> layout = LayOut(state, options);
  absl::Status prepared = layout.status();
  if (prepared.ok()) prepared = kept_->ring.Prepare(device, RingBytes(layout->files, options));
  if (prepared.ok() && !layout->has_constants) kept_->layout = *std::move(layout);
  return exchange_.Agree(prepared, "checkpoint.prepared");
}

absl::Status Saver::Begin(std::string_view directory, const CheckpointState& state,
                          const SaveOptions& options, Stream& stream) {
  if (in_flight()) {
    return absl::FailedPreconditionError(absl::StrCat("the save into ", flight_->directory.string(),
                                                      " is not finished; one into ", directory,
                                                      " begins after it"));
  }
  const absl::Time start = absl::Now();
  HETERO_RETURN_IF_ERROR(MakePlan(state, directory, options));
  HETERO_RETURN_IF_ERROR(StartFlight(directory, state, options, stream));
  flight_->report.planned = absl::Now() - start;
  return absl::OkStatus();
}

void Saver::AwaitCopied() {
  if (in_flight()) flight_->snapshot->AwaitCopied();
}

bool Saver::in_flight() const { return flight_ != nullptr; }

bool Saver::IsWritten() const { return !in_flight() || flight_->snapshot->IsWritten(); }

absl::StatusOr<SaveReport> Saver::Finish() {
  if (!in_flight()) return absl::FailedPreconditionError("no save is in flight");
  const std::unique_ptr<Flight> flight = std::move(flight_);
  return Land(*flight);
}

absl::StatusOr<SaveReport> Saver::Land(Flight& flight) {
  const absl::Status written = flight.snapshot->Join();
  HETERO_RETURN_IF_ERROR(exchange_.Agree(written, "checkpoint.written"));
  flight.report.ring_bytes = kept_->ring.num_slots() * SnapshotRing::kSlotBytes;
  flight.report.ring_waits = flight.snapshot->ring_waits();
  flight.report.copied = flight.snapshot->copied_after();
  flight.report.written = flight.snapshot->written_after();
  std::vector<FilePlan> files = flight.snapshot->TakeFiles();
  if (flight.linked) {
    files.push_back(*kept_->constants);
  } else if (flight.layout.has_constants) {
    kept_->constants = WithoutSources(files.back());
  }
  HETERO_ASSIGN_OR_RETURN(
      const std::vector<std::string> all,
      exchange_.AllGather(DescribeFiles(flight.layout, files), "checkpoint.files"));
  if (!flight.layout.has_constants) {
    kept_->layout = std::move(flight.layout);
    kept_->layout->files = std::move(files);
  }
  absl::StatusOr<int64_t> total = int64_t{0};
  if (exchange_.rank() == 0) {
    total = WriteIndex(storage_, flight.directory, kept_->planner.plan(), all, flight.options);
  }
  HETERO_RETURN_IF_ERROR(exchange_.Agree(total.status(), "checkpoint.index"));
  HETERO_ASSIGN_OR_RETURN(const std::string bytes,
                          exchange_.Broadcast(absl::StrCat(*total), 0, "checkpoint.bytes"));
  flight.report.total_bytes = std::stoll(bytes);
  return flight.report;
}

absl::StatusOr<SaveReport> Save(Storage& storage, std::string_view directory,
                                const CheckpointState& state, Exchange& exchange,
                                const SaveOptions& options, Stream& stream, MemoryLedger& ledger) {
  Saver saver(storage, exchange, ledger);
  HETERO_RETURN_IF_ERROR(saver.Begin(directory, state, options, stream));
  return saver.Finish();
}

}  // namespace hetero
