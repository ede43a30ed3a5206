#ifndef HETERO_DATA_PREFETCHER_H_
#define HETERO_DATA_PREFETCHER_H_

// A background thread that fills batches ahead of their use.

#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"

namespace hetero::data {
namespace internal {

// What the thread, the consumer and batches in use share; batches return here.
template <typename Batch>
struct PrefetchState {
  explicit PrefetchState(std::vector<Batch> given) : batches(std::move(given)) {
    free.reserve(batches.size());
    ready.reserve(batches.size());
    for (Batch& batch : batches) free.push_back(&batch);
  }

  std::vector<Batch> batches;  // each free, ready, in work or in use
  absl::Mutex mutex;
  std::vector<Batch*> free ABSL_GUARDED_BY(mutex);   // the longest unused first
  std::vector<Batch*> ready ABSL_GUARDED_BY(mutex);  // numbers next, next + 1, ...
  int64_t next ABSL_GUARDED_BY(mutex) = -1;          // -1: none was asked for
  int64_t num_restarts ABSL_GUARDED_BY(mutex) = 0;
  absl::Status failure ABSL_GUARDED_BY(mutex);  // why no batch follows `ready`
  bool stop ABSL_GUARDED_BY(mutex) = false;
};

template <typename Batch>
struct ReturnBatch {
  std::shared_ptr<PrefetchState<Batch>> state;

  void operator()(Batch* batch) const {
    const absl::MutexLock lock(&state->mutex);
    state->free.push_back(batch);
  }
};

}  // namespace internal

// A batch in use; it is filled anew once this is destroyed. May outlive its prefetcher.
template <typename Batch>
using BatchLease = std::unique_ptr<Batch, internal::ReturnBatch<Batch>>;

// Batches n, n + 1, n + 2, ... from the number that was asked for first, made in place in the
// batches that the caller gives: those that are not in use are ready or in work. One thread
// consumes. Between calls of `fill` nothing is allocated.
template <typename Batch>
class Prefetcher {
 public:
  // Makes batch `n` of what `batch` was filled with before. A failure, or an exception as by
  // CatchExceptions, ends the sequence.
  using Fill = absl::AnyInvocable<absl::Status(int64_t n, Batch& batch)>;

  // `fill` is called on the thread alone, from the first Take on.
  // Precondition: there are batches. Errors: those of StartThread.
  static absl::StatusOr<std::unique_ptr<Prefetcher>> Create(std::vector<Batch> batches, Fill fill) {
    CHECK(!batches.empty());
    std::unique_ptr<Prefetcher> prefetcher(new Prefetcher(std::move(batches), std::move(fill)));
    HETERO_ASSIGN_OR_RETURN(
        prefetcher->thread_,
        StartThread("a data loader", [loading = prefetcher.get()] { loading->Produce(); }));
    return prefetcher;
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // Waits for the batch in work, if any.
  ~Prefetcher() {
    {
      const absl::MutexLock lock(&state_->mutex);
      state_->stop = true;
    }
    if (thread_.joinable()) thread_.join();
  }

  // Batch `n`; blocks until it is ready. The number behind the last was made before; any other
  // drops what is ready and starts anew from there. A failure of `fill` comes when its batch is
  // asked for, and each time that it is asked for again.
  // Preconditions: n >= 0; not all batches are in use.
  absl::StatusOr<BatchLease<Batch>> Take(int64_t n) {
    return Take(
        n, [] { return absl::OkStatus(); }, absl::InfiniteDuration());
  }

  // Likewise, but asks `check` every `tick` while it waits, and gives up with its error.
  absl::StatusOr<BatchLease<Batch>> Take(int64_t n, absl::FunctionRef<absl::Status()> check,
                                         absl::Duration tick) {
    CHECK_GE(n, 0);
    const auto available = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
      return !state_->ready.empty() || !state_->failure.ok();
    };
    const absl::MutexLock lock(&state_->mutex);
    if (n != state_->next) Restart(n);
    while (!state_->mutex.AwaitWithTimeout(absl::Condition(&available), tick)) {
      HETERO_RETURN_IF_ERROR(check());
    }
    if (state_->ready.empty()) return state_->failure;
    BatchLease<Batch> batch(state_->ready.front(), {state_});
    state_->ready.erase(state_->ready.begin());
    ++state_->next;
    return batch;
  }

  // Makes what was made ahead anew: what it was made of has changed. Batches in use stay.
  void Drop() {
    const absl::MutexLock lock(&state_->mutex);
    Restart(state_->next);
  }

 private:
  using State = internal::PrefetchState<Batch>;

  Prefetcher(std::vector<Batch> batches, Fill fill)
      : fill_(std::move(fill)), state_(std::make_shared<State>(std::move(batches))) {}

  void Restart(int64_t n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
    state_->free.insert(state_->free.end(), state_->ready.begin(), state_->ready.end());
    state_->ready.clear();
    state_->failure = absl::OkStatus();
    state_->next = n;
    ++state_->num_restarts;
  }

  void Produce() {
    const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
      const bool goes_on = state_->next >= 0 && state_->failure.ok() && !state_->free.empty();
      return state_->stop || goes_on;
    };
    for (;;) {
      Batch* batch = nullptr;
      int64_t n = 0;
      int64_t num_restarts = 0;
      {
        const absl::MutexLock lock(&state_->mutex);
        state_->mutex.Await(absl::Condition(&wanted));
        if (state_->stop) return;
        batch = state_->free.front();
        state_->free.erase(state_->free.begin());
        n = state_->next + static_cast<int64_t>(state_->ready.size());
        num_restarts = state_->num_restarts;
      }
      absl::Status status = CatchExceptions([&] { return fill_(n, *batch); });
      const absl::MutexLock lock(&state_->mutex);
      const bool still_wanted = num_restarts == state_->num_restarts;
      (still_wanted && status.ok() ? state_->ready : state_->free).push_back(batch);
      if (still_wanted) state_->failure = std::move(status);
    }
  }

  Fill fill_;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_PREFETCHER_H_
