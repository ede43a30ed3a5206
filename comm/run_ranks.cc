#include "hetero/comm/run_ranks.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/awake_clock.h"
#include "hetero/comm/nccl/nccl_world.h"
#include "hetero/comm/rank_world.h"
#include "hetero/comm/threads/threads_world.h"

namespace hetero {
namespace {

// Within seconds of an abort every call of a communicator has returned and streams have drained.
constexpr absl::Duration kPatience = absl::Seconds(30);

absl::StatusOr<std::unique_ptr<RankWorld>> MakeWorld(int64_t num_ranks,
                                                     const RunRanksOptions& options) {
  if (options.backend == RankBackend::kThreads) {
    return std::make_unique<ThreadsWorld>(num_ranks, ThreadsOptions{.timeout = options.timeout});
  }
  CHECK_EQ(static_cast<int64_t>(options.devices.size()), num_ranks);
  return CreateNcclWorld(options.devices, {.timeout = options.timeout});
}

// The ranks of a run, each on its thread, and what they returned.
class RankThreads {
 public:
  RankThreads(int64_t num_ranks, RankWorld& world)
      : world_(world), results_(static_cast<size_t>(num_ranks)) {}
  ~RankThreads() {
    for (std::thread& thread : threads_) thread.join();
  }

  void Start(absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function) {
    threads_.reserve(results_.size());  // a thread that finds no place there ends the process
    for (size_t i = 0; i < results_.size(); ++i) {
      const GlobalRank rank(static_cast<int64_t>(i));
      absl::StatusOr<std::thread> thread =
          StartThread(absl::StrCat("rank ", rank), [this, rank, function] {
            End(rank, CatchExceptions([&] { return function(rank, *world_.Factory(rank)); }));
          });
      if (thread.ok()) {
        threads_.push_back(*std::move(thread));
        continue;
      }
      // The others find themselves aborted.
      for (size_t missing = i; missing < results_.size(); ++missing) {
        End(GlobalRank(static_cast<int64_t>(missing)), thread.status());
      }
      return;
    }
  }

  // Until every rank has ended. Calls `on_stuck` once, when some have not a while after the abort.
  void Await(absl::Duration timeout, const decltype(RunRanksOptions::on_stuck)& on_stuck) {
    AwakeClock clock(timeout);
    const absl::Duration patience = std::min(timeout, kPatience);
    std::optional<absl::Duration> aborted_at;
    bool told = on_stuck == nullptr;
    absl::MutexLock lock(&mutex_);
    while (!mutex_.AwaitWithTimeout(absl::Condition(this, &RankThreads::AllEnded),
                                    told ? absl::InfiniteDuration() : clock.tick())) {
      if (world_.HealthCheck().ok()) continue;
      const absl::Duration now = clock.Now();
      if (!aborted_at.has_value()) aborted_at = now;
      if (now - *aborted_at < patience) continue;
      told = true;
      std::vector<GlobalRank> stuck;
      for (size_t i = 0; i < results_.size(); ++i) {
        if (!results_[i].has_value()) stuck.emplace_back(static_cast<int64_t>(i));
      }
      const absl::Status outcome = OutcomeSoFar();
      mutex_.Unlock();
      on_stuck(outcome, stuck);
      mutex_.Lock();
    }
  }

  absl::Status Outcome() {
    absl::MutexLock lock(&mutex_);
    return OutcomeSoFar();
  }

 private:
  void End(GlobalRank rank, const absl::Status& status) {
    const absl::Status result = Annotate(status, absl::StrCat("rank ", rank));
    if (!result.ok()) world_.Abort(result);
    absl::MutexLock lock(&mutex_);
    results_[static_cast<size_t>(rank.value())] = result;
    ++num_ended_;
  }

  bool AllEnded() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return num_ended_ == results_.size(); }

  absl::Status OutcomeSoFar() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    absl::Status first = world_.HealthCheck();
    std::vector<std::string> others;
    for (size_t i = 0; i < results_.size(); ++i) {
      if (!results_[i].has_value()) {
        others.push_back(absl::StrCat("rank ", i, ": has not come back"));
        continue;
      }
      const absl::Status& result = *results_[i];
      if (result.ok()) continue;
      // A communicator reports the failure first; what the rank returned says more of where it was.
      const bool is_first = result.code() == first.code() &&
                            absl::StartsWith(first.message(), absl::StrCat("rank ", i, ":"));
      if (is_first) {
        first = result;
      } else {
        others.push_back(result.ToString());
      }
    }
    if (!first.ok()) {
      first.SetPayload(kLastCallsPayload, absl::Cord(world_.DescribeLastCalls()));
    }
    if (!others.empty()) {
      first.SetPayload(kOtherRanksPayload, absl::Cord(absl::StrJoin(others, "\n")));
    }
    return first;
  }

  RankWorld& world_;
  std::vector<std::thread> threads_;
  absl::Mutex mutex_;
  std::vector<std::optional<absl::Status>> results_ ABSL_GUARDED_BY(mutex_);
  size_t num_ended_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

absl::Status RunRanks(int64_t num_ranks,
                      absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                      const RunRanksOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankWorld> world, MakeWorld(num_ranks, options));
  RankThreads ranks(num_ranks, *world);
  ranks.Start(function);
  ranks.Await(options.timeout, options.on_stuck);
  return ranks.Outcome();
}

absl::Status AbortOnFailure(GlobalRank rank, CommunicatorFactory& factory,
                            absl::FunctionRef<absl::Status()> body) {
  const absl::Status status = CatchExceptions(body);
  if (!status.ok()) factory.AbortAll(Annotate(status, absl::StrCat("rank ", rank)));
  return status;
}

}  // namespace hetero
