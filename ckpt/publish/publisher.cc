#include "hetero/ckpt/publish/publisher.h"

#include <algorithm>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/publish/tracker.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// Makes a folder and those above it, durably.
absl::Status MakeDurableFolder(Storage& storage, const fs::path& folder) {
  std::vector<fs::path> made;
  for (fs::path at = folder; !storage.IsDirectory(at); at = at.parent_path()) {
    made.push_back(at);
    if (!at.has_relative_path() || !at.has_parent_path()) break;
  }
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(folder));
  for (const fs::path& path : made) {
    const fs::path above = path.parent_path();
    HETERO_RETURN_IF_ERROR(storage.SyncDirectory(above.empty() ? fs::path(".") : above));
  }
  return absl::OkStatus();
}

}  // namespace

Staging::Staging(Storage& storage, fs::path path, int64_t iteration, std::string save_id)
    : storage_(&storage),
      path_(std::move(path)),
      iteration_(iteration),
      save_id_(std::move(save_id)) {}

Staging::Staging(Staging&& other) noexcept
    : storage_(std::exchange(other.storage_, nullptr)),
      path_(other.path_),
      iteration_(other.iteration_),
      save_id_(other.save_id_) {}

Staging::~Staging() {
  if (storage_ == nullptr) return;
  if (const absl::Status removed = storage_->RemoveTree(path_); !removed.ok()) {
    LOG(WARNING) << removed.message() << "; the next run removes it";
  }
}

absl::StatusOr<std::unique_ptr<Publisher>> Publisher::Open(Storage& storage, const fs::path& folder,
                                                           PublisherOptions options) {
  HETERO_RETURN_IF_ERROR(MakeDurableFolder(storage, folder));
  std::unique_ptr<Publisher> publisher(new Publisher(storage, folder, std::move(options)));
  HETERO_ASSIGN_OR_RETURN(publisher->lease_,
                          Lease::Acquire(storage, folder, publisher->options_.lease));
  HETERO_RETURN_IF_ERROR(publisher->CheckModel());
  HETERO_ASSIGN_OR_RETURN(publisher->best_, ReadBest(storage, folder));
  HETERO_ASSIGN_OR_RETURN(publisher->deleter_,
                          StartThread("deletion of checkpoints",
                                      [at = publisher.get()] { at->DeleteAgainAndAgain(); }));
  HETERO_RETURN_IF_ERROR(publisher->TidyUp());
  return publisher;
}

Publisher::Publisher(Storage& storage, fs::path folder, PublisherOptions options)
    : storage_(storage), folder_(std::move(folder)), options_(std::move(options)) {}

Publisher::~Publisher() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  if (deleter_.joinable()) deleter_.join();
}

absl::Status Publisher::CheckModel() {
  if (options_.model.empty()) return absl::OkStatus();
  const fs::path path = folder_ / kRunName;
  const absl::StatusOr<std::string> model = ReadText(storage_, path);
  if (model.ok() && *model == options_.model) return absl::OkStatus();
  if (model.ok() && !options_.adopt) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder_.native(), " has checkpoints of another model, \"", *model, "\"; this run's is \"",
        options_.model, "\"; save in another folder, or take this one over with adopt"));
  }
  if (!model.ok() && !absl::IsNotFound(model.status())) return model.status();
  return ReplaceText(storage_, path, options_.model);
}

absl::Status Publisher::TidyUp() {
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage_.List(folder_));
  for (const std::string& name : names) {
    if (IsStagingName(name) || absl::StartsWith(name, kTrashPrefix)) DeleteLater(folder_ / name);
    const bool other_lease = absl::StartsWith(name, absl::StrCat(kLeaseName, ".")) &&
                             !absl::StrContains(name, lease_->token());
    const bool temporary = absl::EndsWith(name, kTemporarySuffix) &&
                           (absl::StartsWith(name, ".") || absl::StartsWith(name, kTrackerName));
    if (!other_lease && !(temporary && !absl::StrContains(name, lease_->token()))) continue;
    const absl::Status removed = storage_.Remove(folder_ / name);
    if (!removed.ok() && !absl::IsNotFound(removed)) LOG(WARNING) << removed.message();
  }
  return absl::OkStatus();
}

absl::StatusOr<Staging> Publisher::Begin(int64_t iteration, int64_t planned_bytes) {
  HETERO_RETURN_IF_ERROR(lease_->Check());
  const int64_t needed = planned_bytes + planned_bytes / 20;
  HETERO_ASSIGN_OR_RETURN(int64_t free, storage_.FreeBytes(folder_));
  if (free < needed) {
    std::vector<std::string> warnings;
    HETERO_RETURN_IF_ERROR(DeleteOld(warnings));
    AwaitDeletions();
    HETERO_ASSIGN_OR_RETURN(free, storage_.FreeBytes(folder_));
  }
  if (free < needed) {
    return absl::ResourceExhaustedError(
        absl::StrCat(folder_.native(), ": no checkpoint of iteration ", iteration, ": it takes ",
                     planned_bytes, " bytes and ", needed - planned_bytes, " to spare, ", free,
                     " are free; ", needed - free, " more are needed"));
  }
  std::string save_id = UniqueToken();
  const fs::path path = folder_ / StagingName(iteration, save_id);
  HETERO_RETURN_IF_ERROR(storage_.MakeDirectory(path));
  return Staging(storage_, path, iteration, std::move(save_id));
}

absl::StatusOr<PublishReport> Publisher::Publish(Staging staging, const ReadBack& read_back) {
  HETERO_RETURN_IF_ERROR(lease_->Check());
  HETERO_ASSIGN_OR_RETURN(const std::string manifest, CheckStaged(storage_, staging.path()));
  HETERO_RETURN_IF_ERROR(WriteText(storage_, staging.path() / kCommitName, CommitText(manifest)));
  HETERO_RETURN_IF_ERROR(storage_.SyncDirectory(staging.path()));
  if (read_back) {
    HETERO_RETURN_IF_ERROR(read_back(staging.path())).With("not published");
  }
  HETERO_RETURN_IF_ERROR(lease_->Check());

  HETERO_ASSIGN_OR_RETURN(const std::string replaced, GiveName(staging));
  // What has the staging folder's name now, if anything, is no longer this checkpoint.
  staging.storage_ = nullptr;
  HETERO_RETURN_IF_ERROR(storage_.SyncDirectory(folder_));
  HETERO_RETURN_IF_ERROR(WriteTracker(storage_, folder_, staging.iteration()));

  PublishReport report = {.directory = folder_ / IterationName(staging.iteration())};
  if (!replaced.empty()) {
    const absl::Status trashed = ToTrash(replaced);
    if (!trashed.ok()) report.warnings.emplace_back(trashed.message());
  }
  absl::StatusOr<std::vector<int64_t>> deleted = DeleteOld(report.warnings);
  if (deleted.ok()) report.deleted = *std::move(deleted);
  if (!deleted.ok()) report.warnings.emplace_back(deleted.status().message());
  for (const std::string& warning : report.warnings) LOG(WARNING) << warning;
  return report;
}

// Returns the name that the checkpoint has which was there before, empty when there was none or it
// is to stay.
absl::StatusOr<std::string> Publisher::GiveName(const Staging& staging) {
  const std::string name = IterationName(staging.iteration());
  const fs::path path = folder_ / name;
  const absl::Status named = storage_.Rename(staging.path(), path, RenameMode::kNoReplace);
  if (named.ok()) return "";
  if (!absl::IsAlreadyExists(named)) return named;
  if (!IsCommitted(storage_, path)) {
    const std::string aside = absl::StrCat(name, ".replaced.", staging.save_id());
    LOG(WARNING) << path.native() << " is no checkpoint of this program; it is now " << aside;
    HETERO_RETURN_IF_ERROR(storage_.Rename(path, folder_ / aside, RenameMode::kNoReplace));
    HETERO_RETURN_IF_ERROR(storage_.SyncDirectory(folder_));
    HETERO_RETURN_IF_ERROR(storage_.Rename(staging.path(), path, RenameMode::kNoReplace));
    return "";
  }
  const absl::Status exchanged = storage_.Rename(staging.path(), path, RenameMode::kExchange);
  if (exchanged.ok()) return staging.path().filename().native();
  if (!absl::IsUnimplemented(exchanged)) return exchanged;
  // Without exchanges there is an instant with neither; it must not be the tracker's.
  HETERO_ASSIGN_OR_RETURN(const Tracker tracker, ReadTracker(storage_, folder_));
  if (tracker.kind == Tracker::Kind::kIteration && tracker.iteration == staging.iteration()) {
    return exchanged;
  }
  HETERO_RETURN_IF_ERROR(ToTrash(name));
  HETERO_RETURN_IF_ERROR(storage_.Rename(staging.path(), path, RenameMode::kNoReplace));
  return "";
}

absl::StatusOr<std::vector<int64_t>> Publisher::DeleteOld(std::vector<std::string>& warnings) {
  if (options_.retention.keep_last <= 0) return std::vector<int64_t>{};
  HETERO_ASSIGN_OR_RETURN(const Tracker tracker, ReadTracker(storage_, folder_));
  if (tracker.kind != Tracker::Kind::kIteration) return std::vector<int64_t>{};
  HETERO_ASSIGN_OR_RETURN(const std::vector<int64_t> published,
                          PublishedIterations(storage_, folder_));
  RetentionOptions retention = options_.retention;
  if (best_.has_value()) retention.pinned.push_back(best_->iteration);
  std::vector<int64_t> deleted;
  for (const int64_t iteration : IterationsToDelete(published, tracker.iteration, retention)) {
    const std::string name = IterationName(iteration);
    if (IsBeingRead(storage_, folder_, name, options_.lease.now())) continue;
    const absl::Status trashed = ToTrash(name);
    if (trashed.ok()) {
      deleted.push_back(iteration);
    } else if (!absl::IsUnavailable(trashed)) {
      warnings.emplace_back(trashed.message());
    }
  }
  return deleted;
}

// UNAVAILABLE when somebody has begun to read it.
absl::Status Publisher::ToTrash(const std::string& name) {
  const fs::path trash = folder_ / absl::StrCat(kTrashPrefix, name, ".", UniqueToken());
  HETERO_RETURN_IF_ERROR(storage_.Rename(folder_ / name, trash, RenameMode::kNoReplace));
  // A reader takes its lease and then looks whether the name is still there.
  if (IsBeingRead(storage_, folder_, name, options_.lease.now())) {
    HETERO_RETURN_IF_ERROR(storage_.Rename(trash, folder_ / name, RenameMode::kNoReplace));
    return absl::UnavailableError(absl::StrCat((folder_ / name).native(), " is being read"));
  }
  DeleteLater(trash);
  return absl::OkStatus();
}

absl::Status Publisher::KeepBest(const BestCheckpoint& best) {
  HETERO_RETURN_IF_ERROR(lease_->Check());
  HETERO_RETURN_IF_ERROR(WriteBest(storage_, folder_, best));
  best_ = best;
  return absl::OkStatus();
}

void Publisher::DeleteLater(fs::path path) {
  absl::MutexLock lock(&mutex_);
  to_delete_.push_back(std::move(path));
}

void Publisher::DeleteAgainAndAgain() {
  absl::MutexLock lock(&mutex_);
  const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ending_ || !to_delete_.empty();
  };
  while (true) {
    mutex_.Await(absl::Condition(&wanted));
    if (ending_) return;
    const fs::path path = std::move(to_delete_.front());
    to_delete_.pop_front();
    deleting_ = true;
    mutex_.Unlock();
    // Else a loss of power could bring its old name back and leave it without its files.
    absl::Status removed = storage_.SyncDirectory(folder_);
    if (removed.ok()) removed = storage_.RemoveTree(path);
    if (!removed.ok()) LOG(WARNING) << removed.message() << "; the next run tries again";
    mutex_.Lock();
    deleting_ = false;
  }
}

void Publisher::AwaitDeletions() {
  absl::MutexLock lock(&mutex_);
  const auto done = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return to_delete_.empty() && !deleting_;
  };
  mutex_.Await(absl::Condition(&done));
}

absl::StatusOr<std::vector<int64_t>> PublishedIterations(Storage& storage, const fs::path& folder) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(folder));
  std::vector<int64_t> iterations;
  for (const std::string& name : names) {
    const std::optional<int64_t> iteration = ParseIterationName(name);
    if (iteration.has_value() && IsCommitted(storage, folder / name)) {
      iterations.push_back(*iteration);
    }
  }
  std::sort(iterations.begin(), iterations.end());
  return iterations;
}

}  // namespace hetero
