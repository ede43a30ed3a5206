#include "hetero/comm/rank_threads.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/awake_clock.h"
#include "hetero/comm/flight.h"
#include "hetero/comm/run_ranks.h"

namespace hetero::internal {
namespace {

// Within seconds of an abort every call of a communicator has returned and streams have drained.
constexpr absl::Duration kPatience = absl::Seconds(30);

}  // namespace

RankThreads::RankThreads(std::span<const GlobalRank> ranks, RankWorld& world)
    : ranks_(ranks.begin(), ranks.end()), world_(world) {
  for (const GlobalRank rank : ranks) results_[rank];
}

RankThreads::~RankThreads() {
  for (std::thread& thread : threads_) thread.join();
}

void RankThreads::Start(
    absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function) {
  threads_.reserve(ranks_.size());  // a thread that finds no place there ends the process
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const GlobalRank rank = ranks_[i];
    absl::StatusOr<std::thread> thread =
        StartThread(absl::StrCat("rank ", rank), [this, rank, function] {
          End(rank, CatchExceptions([&] { return function(rank, *world_.Factory(rank)); }));
        });
    if (thread.ok()) {
      threads_.push_back(*std::move(thread));
      continue;
    }
    // The others find themselves aborted.
    for (size_t missing = i; missing < ranks_.size(); ++missing) {
      End(ranks_[missing], thread.status());
    }
    return;
  }
}

void RankThreads::Await(
    absl::Duration timeout,
    const std::function<void(const absl::Status&, std::span<const GlobalRank>)>& on_stuck) {
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
    for (const auto& [rank, result] : results_) {
      if (!result.has_value()) stuck.push_back(rank);
    }
    const absl::Status outcome = OutcomeSoFar();
    mutex_.Unlock();
    on_stuck(outcome, stuck);
    mutex_.Lock();
  }
}

absl::Status RankThreads::Outcome() {
  absl::MutexLock lock(&mutex_);
  return OutcomeSoFar();
}

void RankThreads::End(GlobalRank rank, const absl::Status& status) {
  const absl::Status result = Annotate(status, absl::StrCat("rank ", rank));
  if (!result.ok()) world_.Abort(result);
  absl::MutexLock lock(&mutex_);
  results_[rank] = result;
  ++num_ended_;
}

absl::Status RankThreads::OutcomeSoFar() {
  absl::Status first = world_.HealthCheck();
  std::vector<std::string> others;
  for (const auto& [rank, outcome] : results_) {
    if (!outcome.has_value()) {
      others.push_back(absl::StrCat("rank ", rank, ": has not come back"));
      continue;
    }
    const absl::Status& result = *outcome;
    if (result.ok()) continue;
    // A communicator reports the failure first; what the rank returned says more of where it was.
    const bool is_first = result.code() == first.code() &&
                          absl::StartsWith(first.message(), absl::StrCat("rank ", rank, ":"));
    if (is_first) {
      first = result;
    } else {
      others.push_back(result.ToString());
    }
  }
  if (!first.ok()) {
    first.SetPayload(kLastCallsPayload, absl::Cord(world_.DescribeLastCalls()));
    std::vector<std::string> flights;
    for (RankFlight& flight : world_.Flights()) {
      flight.failure = std::string(first.message());
      flights.push_back(ToJson(flight));
    }
    first.SetPayload(kFlightsPayload, absl::Cord(absl::StrJoin(flights, "\n")));
  }
  if (!others.empty()) {
    first.SetPayload(kOtherRanksPayload, absl::Cord(absl::StrJoin(others, "\n")));
  }
  return first;
}

}  // namespace hetero::internal
