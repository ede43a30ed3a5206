#include "hetero/ckpt/save.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/fnv.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/file_layout.h"
#include "hetero/ckpt/format/key_style.h"
#include "hetero/ckpt/index_writer.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/snapshot.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

// What must be the same on all ranks, and the structure of a rank's own state.
struct Header {
  uint64_t description = 0;
  uint64_t cached_plan = 0;  // 0: none
  std::string request;       // readable
  bool has_common = false;
};

std::string ToBytes(const Header& header) {
  std::string bytes;
  Json::to_cbor(
      Json::array({header.description, header.cached_plan, header.request, header.has_common}),
      bytes);
  return bytes;
}

absl::StatusOr<std::vector<Header>> ParseHeaders(const std::vector<std::string>& all) {
  std::vector<Header> headers;
  for (const std::string& bytes : all) {
    const Json json = Json::from_cbor(bytes, true, /*allow_exceptions=*/false);
    if (!json.is_array() || json.size() != 4) {
      return absl::DataLossError("what a rank said of its save did not arrive whole");
    }
    headers.push_back({json[0].get<uint64_t>(), json[1].get<uint64_t>(), json[2].get<std::string>(),
                       json[3].get<bool>()});
  }
  return headers;
}

// The first member whose value differs from that of member 0.
template <typename T, typename Value>
std::optional<size_t> FirstThatDiffers(const std::vector<T>& all, Value value) {
  for (size_t i = 1; i < all.size(); ++i) {
    if (value(all[i]) != value(all[0])) return i;
  }
  return std::nullopt;
}

absl::Status CheckHeaders(const std::vector<Header>& headers) {
  const auto request = [](const Header& header) -> const std::string& { return header.request; };
  if (const std::optional<size_t> other = FirstThatDiffers(headers, request)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rank 0 saves ", headers[0].request, " and rank ", *other, " ", headers[*other].request));
  }
  for (size_t i = 1; i < headers.size(); ++i) {
    if (!headers[i].has_common) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", i,
                     " has common state, which only rank 0 may have, as it alone writes it; what a "
                     "branch owns is an object"));
  }
  return absl::OkStatus();
}

}  // namespace

struct Saver::Kept {
  CheckpointState described;  // what `description` is of, without values
  uint64_t description = 0;
  std::vector<uint64_t> descriptions;  // of all members, of the plan
  WorldPlan plan;
  uint64_t plan_hash = 0;
  bool cached = false;  // at the last save
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

CheckpointState WithoutValues(const CheckpointState& state) {
  CheckpointState structure;
  for (const CheckpointTensor& tensor : state.tensors) {
    CheckpointTensor& copy = structure.tensors.emplace_back();
    copy = {.key = tensor.key,
            .dtype = tensor.dtype,
            .shape = tensor.shape,
            .padded_rows = tensor.padded_rows};
    for (const CheckpointTensor::Piece& piece : tensor.pieces) {
      copy.pieces.push_back({.box = piece.box, .main = piece.main, .constant = piece.constant});
    }
  }
  for (const CheckpointObject& object : state.objects) {
    structure.objects.push_back({.name = object.name, .main = object.main});
  }
  return structure;
}

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

// Of memory through which the files go.
int64_t RingBytes(const std::vector<FilePlan>& files, const SaveOptions& options) {
  int64_t written = 0;
  for (const FilePlan& file : files) written += file.bytes;
  // Two blocks a file: one is filled while the other is written.
  const int64_t least = 2 * SnapshotRing::kSlotBytes * std::ssize(files);
  const int64_t wanted =
      options.ring_bytes > 0 ? std::min(options.ring_bytes, written) : written / 4;
  return std::max(least, wanted);
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

Saver::Saver(Storage& storage, Exchange& exchange)
    : storage_(storage), exchange_(exchange), kept_(std::make_unique<Kept>()) {}

Saver::~Saver() {
  if (in_flight()) flight_->snapshot->Cancel(absl::AbortedError("the saver is gone"));
}

absl::Status Saver::MakePlan(const CheckpointState& state, std::string_view directory,
                             const SaveOptions& options) {
  if (kept_->description == 0 || !IsLike(kept_->described, state)) {
    kept_->description = Fnv1a(DescribeState(state));
    kept_->described = WithoutValues(state);
  }
  const Header own{
      .description = kept_->description,
      .cached_plan = kept_->plan_hash,
      .request = absl::StrCat("iteration ", options.iteration, options.agreed.empty() ? "" : " ",
                              options.agreed, " as ", options.save_id, " into ", directory,
                              " in chunks of ", options.max_chunk_bytes, " bytes"),
      .has_common = exchange_.rank() != 0 && !(options.common.empty() && options.state.empty())};
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> bytes,
                          exchange_.AllGather(ToBytes(own), "checkpoint.header"));
  HETERO_ASSIGN_OR_RETURN(const std::vector<Header> headers, ParseHeaders(bytes));
  HETERO_RETURN_IF_ERROR(CheckHeaders(headers));
  std::vector<uint64_t> descriptions;
  for (const Header& header : headers) descriptions.push_back(header.description);
  const auto cached_plan = [](const Header& header) { return header.cached_plan; };
  // Every rank decides this alike: what it remembers of the others, all remember.
  kept_->cached = own.cached_plan != 0 && descriptions == kept_->descriptions;
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> agree,
                          exchange_.AllGather(kept_->cached ? "1" : "0", "checkpoint.cached"));
  kept_->cached = std::ranges::count(agree, "1") == std::ssize(agree) &&
                  !FirstThatDiffers(headers, cached_plan).has_value();
  if (kept_->cached) return absl::OkStatus();

  kept_->plan_hash = 0;
  kept_->layout.reset();
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          exchange_.AllGather(DescribeState(state), "checkpoint.plan"));
  HETERO_ASSIGN_OR_RETURN(kept_->plan, MakeWorldPlan(all, Distribution::kSave));
  const std::string hash = absl::StrCat(kept_->plan.Hash());
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> hashes,
                          exchange_.AllGather(hash, "checkpoint.hash"));
  const auto self = [](const std::string& text) -> const std::string& { return text; };
  if (const std::optional<size_t> other = FirstThatDiffers(hashes, self)) {
    return absl::InternalError(absl::StrCat("rank ", *other, " has another plan (", hashes[*other],
                                            ") than rank 0 (", hashes[0],
                                            ") of the same descriptions"));
  }
  kept_->descriptions = std::move(descriptions);
  kept_->plan_hash = kept_->plan.Hash();
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
  return LayOutFiles(kept_->plan, exchange_.rank(), state, options.num_files,
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
  flight->report.plan_cached = kept_->cached;
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
    total = WriteIndex(storage_, flight.directory, kept_->plan, all, flight.options);
  }
  HETERO_RETURN_IF_ERROR(exchange_.Agree(total.status(), "checkpoint.index"));
  HETERO_ASSIGN_OR_RETURN(const std::string bytes,
                          exchange_.Broadcast(absl::StrCat(*total), 0, "checkpoint.bytes"));
  flight.report.total_bytes = std::stoll(bytes);
  return flight.report;
}

absl::StatusOr<SaveReport> Save(Storage& storage, std::string_view directory,
                                const CheckpointState& state, Exchange& exchange,
                                const SaveOptions& options, Stream& stream) {
  Saver saver(storage, exchange);
  HETERO_RETURN_IF_ERROR(saver.Begin(directory, state, options, stream));
  return saver.Finish();
}

}  // namespace hetero
