#ifndef HETERO_CKPT_PUBLISH_LEASE_H_
#define HETERO_CKPT_PUBLISH_LEASE_H_

// Of all runs that are given one folder of checkpoints, one saves there: the one with the lease.
//
// `.lease` names the holder and never changes. While it lives, the holder writes until when it can
// be believed into `.lease.<token>.beat`; nobody else writes that file, so a holder that slept for
// long cannot overwrite its successor. Who finds the time past, or the process gone, creates
// `.lease.<token>.next`, which only one can, then looks at the beat again: it goes back where the
// holder has woken up. The successor's file is then renamed to `.lease`.
//
// A holder beats and then looks for a successor, so of the two at least one sees the other. Clocks
// of the machines are taken to agree within the time a lease lasts less that between two beats.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/ckpt/publish/process_mark.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct LeaseOptions {
  std::string run_id;  // for those who meet the lease
  absl::Duration lasts = absl::Minutes(2);
  // A thread beats that often; with InfiniteDuration only the holder's calls do.
  absl::Duration beat_every = absl::Seconds(30);
  std::function<absl::Time()> now = absl::Now;
};

// Thread safe.
class Lease {
 public:
  // Errors: FAILED_PRECONDITION naming run, process, host and until when it is believed, when
  // another run holds the lease; DATA_LOSS naming a lease that nobody can read.
  static absl::StatusOr<std::unique_ptr<Lease>> Acquire(Storage& storage,
                                                        const std::filesystem::path& folder,
                                                        LeaseOptions options);
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  // Gives the lease back, so that the next run need not wait.
  ~Lease();

  const std::string& token() const { return token_; }

  // Beats, then says whether the lease is still this one. ABORTED naming the run that has it.
  absl::Status Check();

 private:
  Lease(Storage& storage, std::filesystem::path folder, LeaseOptions options);

  absl::Status Beat();
  void BeatAgainAndAgain();

  Storage& storage_;
  const std::filesystem::path folder_;
  const LeaseOptions options_;
  const std::string token_;
  absl::Mutex beat_mutex_;  // one writer of the beat
  absl::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread beating_;
};

// Keeps a published checkpoint from being deleted while it is read. Where nothing may be written,
// no lease is needed: there it lies still.
class ReaderLease {
 public:
  // `checkpoint` is a name in `folder`. NOT_FOUND when there is none.
  static absl::StatusOr<std::unique_ptr<ReaderLease>> Acquire(Storage& storage,
                                                              const std::filesystem::path& folder,
                                                              std::string_view checkpoint,
                                                              LeaseOptions options);
  ReaderLease(const ReaderLease&) = delete;
  ReaderLease& operator=(const ReaderLease&) = delete;
  ~ReaderLease();

  // Says for `lasts` more that it is being read. The thread of `beat_every` calls it.
  absl::Status Beat();

 private:
  ReaderLease(Storage& storage, std::filesystem::path path, LeaseOptions options);

  Storage& storage_;
  const std::filesystem::path path_;
  const LeaseOptions options_;
  absl::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread beating_;
};

// Whether a reader with a lease that is believed at `now` reads `checkpoint`. Leases of readers
// that are gone are removed.
bool IsBeingRead(Storage& storage, const std::filesystem::path& folder, std::string_view checkpoint,
                 absl::Time now);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_LEASE_H_
