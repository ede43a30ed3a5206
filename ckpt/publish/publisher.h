#ifndef HETERO_CKPT_PUBLISH_PUBLISHER_H_
#define HETERO_CKPT_PUBLISH_PUBLISHER_H_

// Publishes checkpoints in a folder so that at every instant, also that of a crash or of a loss of
// power, the tracker names a whole one.
//
//   1 the lease is still this run's      5 the folder gets its name, the names are synced
//   2 files are there with their sizes   6 the tracker is replaced and synced
//   3 COMMIT is written and synced       7 only now is it published; older ones go
//   4 another rank reads bytes back
//
//   auto publisher = Publisher::Open(storage, "/runs/7/checkpoints", options);   // one rank
//   auto staging = (*publisher)->Begin(iteration, planned_bytes);
//   ... every rank writes into staging->path(), manifest.json and a sync of the folder come last
//   ... auto published = (*publisher)->Publish(*std::move(staging), read_back);

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/ckpt/publish/best.h"
#include "hetero/ckpt/publish/lease.h"
#include "hetero/ckpt/publish/retention.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct PublisherOptions {
  LeaseOptions lease;
  RetentionOptions retention;
  // Says which model's checkpoints these are, "nemotron 20L, 3.2e9 parameters, 5a1f09"; a folder
  // with those of another is refused. Empty: not looked at.
  std::string model;
  // Takes a folder over whose checkpoints are of another model.
  bool adopt = false;
};

// A folder that a checkpoint is written into. Unless published it goes with this object.
class Staging {
 public:
  Staging(Staging&& other) noexcept;
  Staging& operator=(Staging&&) = delete;
  ~Staging();

  const std::filesystem::path& path() const { return path_; }
  int64_t iteration() const { return iteration_; }
  // For the manifest.
  const std::string& save_id() const { return save_id_; }

 private:
  friend class Publisher;
  Staging(Storage& storage, std::filesystem::path path, int64_t iteration, std::string save_id);

  Storage* storage_;  // null when there is nothing to remove
  std::filesystem::path path_;
  int64_t iteration_;
  std::string save_id_;
};

struct PublishReport {
  std::filesystem::path directory;
  std::vector<int64_t> deleted;       // iterations that retention took
  std::vector<std::string> warnings;  // of what follows publication
};

// Of one rank of the run that saves. One save at a time.
class Publisher {
 public:
  // Makes the folder where it is missing, takes the lease and removes what dead runs left: staging
  // folders, trash, leases.
  // Errors: FAILED_PRECONDITION naming the run that holds the lease, or the other model.
  static absl::StatusOr<std::unique_ptr<Publisher>> Open(Storage& storage,
                                                         const std::filesystem::path& folder,
                                                         PublisherOptions options);
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;
  // Gives the lease back. Trash that is not deleted by now is by the next run.
  ~Publisher();

  const std::filesystem::path& folder() const { return folder_; }

  // A folder for the files of `iteration`. Where `planned_bytes` and 5% more do not fit, what
  // retention can spare goes first.
  // Errors: RESOURCE_EXHAUSTED with all numbers, nothing written; ABORTED the lease is another's.
  absl::StatusOr<Staging> Begin(int64_t iteration, int64_t planned_bytes);

  // Looks at bytes of the files in a folder on behalf of this rank; best on another, whose cache
  // does not have them. Not OK: they are not published.
  using ReadBack = std::function<absl::Status(const std::filesystem::path&)>;

  // Precondition: files and names in the folder are synced, and manifest.json lists the files. A
  // checkpoint of that iteration which is there is exchanged at one instant and deleted later; one
  // of others is renamed to "<name>.replaced.<save id>".
  // Errors: DATA_LOSS naming a file that is missing, of another size or not listed; ABORTED another
  // run has the lease; what `read_back` and the storage said. Then the tracker names what it named
  // before or, when only the sync of its name failed, this checkpoint.
  absl::StatusOr<PublishReport> Publish(Staging staging, const ReadBack& read_back = {});

  // The published checkpoint that evaluations like best: it stays, and the one that was it no
  // longer for that. Also after this run: what the folder has is kept from the start.
  absl::Status KeepBest(const BestCheckpoint& best);
  const std::optional<BestCheckpoint>& best() const { return best_; }

  // Returns when all that is to be deleted is, or was tried.
  void AwaitDeletions();

 private:
  Publisher(Storage& storage, std::filesystem::path folder, PublisherOptions options);

  absl::Status CheckModel();
  absl::Status TidyUp();
  absl::StatusOr<std::string> GiveName(const Staging& staging);
  absl::StatusOr<std::vector<int64_t>> DeleteOld(std::vector<std::string>& warnings);
  // Renames `name` out of sight and has it deleted.
  absl::Status ToTrash(const std::string& name);
  void DeleteLater(std::filesystem::path path);
  void DeleteAgainAndAgain();

  Storage& storage_;
  const std::filesystem::path folder_;
  const PublisherOptions options_;
  std::unique_ptr<Lease> lease_;
  std::optional<BestCheckpoint> best_;

  absl::Mutex mutex_;
  std::deque<std::filesystem::path> to_delete_ ABSL_GUARDED_BY(mutex_);
  bool deleting_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread deleter_;
};

// Iterations with a committed checkpoint in a folder, ascending.
absl::StatusOr<std::vector<int64_t>> PublishedIterations(Storage& storage,
                                                         const std::filesystem::path& folder);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_PUBLISHER_H_
