#ifndef HETERO_DATA_PREFETCHER_H_
#define HETERO_DATA_PREFETCHER_H_

// A background thread that makes batches ahead of their use.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"

namespace hetero::data {
namespace internal {

// What the thread, the consumer and batches in use share; batches return here.
template <typename Batch>
struct PrefetchState {
  absl::Mutex mutex;
  std::deque<std::unique_ptr<Batch>> ready ABSL_GUARDED_BY(mutex);
  std::vector<std::unique_ptr<Batch>> free ABSL_GUARDED_BY(mutex);
  std::optional<absl::Status> end ABSL_GUARDED_BY(mutex);  // why no batch follows `ready`
  bool stop ABSL_GUARDED_BY(mutex) = false;
};

template <typename Batch>
struct ReturnBatch {
  std::shared_ptr<PrefetchState<Batch>> state;

  void operator()(Batch* batch) const {
    const absl::MutexLock lock(&state->mutex);
    state->free.emplace_back(batch);
  }
};

}  // namespace internal

// A batch in use; its buffers are filled anew once it is destroyed. May outlive its prefetcher.
template <typename Batch>
using BatchLease = std::unique_ptr<Batch, internal::ReturnBatch<Batch>>;

// Batches 0, 1, 2, ... in order, at most `depth` of them waiting. One thread consumes.
template <typename Batch>
class Prefetcher {
 public:
  // Fills batch `n`. A failure, or an exception as by CatchExceptions, ends the sequence.
  using Fill = absl::AnyInvocable<absl::Status(int64_t n, Batch& batch)>;

  // Precondition: depth >= 1. Errors: those of StartThread.
  static absl::StatusOr<std::unique_ptr<Prefetcher>> Create(int depth, Fill fill) {
    CHECK_GE(depth, 1);
    std::unique_ptr<Prefetcher> prefetcher(new Prefetcher(depth, std::move(fill)));
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

  // The next batch; blocks until it is ready. After a failure of `fill`, all batches before it are
  // still delivered, then its status, from then on every time.
  absl::StatusOr<BatchLease<Batch>> Next() {
    const auto available = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
      return !state_->ready.empty() || state_->end.has_value();
    };
    const absl::MutexLock lock(&state_->mutex);
    state_->mutex.Await(absl::Condition(&available));
    if (state_->ready.empty()) return *state_->end;
    BatchLease<Batch> batch(state_->ready.front().release(), {state_});
    state_->ready.pop_front();
    return batch;
  }

 private:
  using State = internal::PrefetchState<Batch>;

  Prefetcher(int depth, Fill fill)
      : depth_(static_cast<size_t>(depth)),
        fill_(std::move(fill)),
        state_(std::make_shared<State>()) {}

  void Produce() {
    const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
      return state_->stop || state_->ready.size() < depth_;
    };
    for (int64_t n = 0;; ++n) {
      std::unique_ptr<Batch> batch;
      {
        const absl::MutexLock lock(&state_->mutex);
        state_->mutex.Await(absl::Condition(&wanted));
        if (state_->stop) return;
        if (!state_->free.empty()) {
          batch = std::move(state_->free.back());
          state_->free.pop_back();
        }
      }
      absl::Status status = CatchExceptions([&] {
        if (batch == nullptr) batch = std::make_unique<Batch>();
        return fill_(n, *batch);
      });
      const absl::MutexLock lock(&state_->mutex);
      if (!status.ok()) {
        state_->end = std::move(status);
        return;
      }
      state_->ready.push_back(std::move(batch));
    }
  }

  size_t depth_;
  Fill fill_;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_PREFETCHER_H_
