#ifndef HETERO_COMM_RANK_THREADS_H_
#define HETERO_COMM_RANK_THREADS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/rank_world.h"
#include "hetero/grid/rank.h"

namespace hetero::internal {

// The ranks of a run that live in this process, each on its thread, and what they returned.
class RankThreads {
 public:
  // `world` outlives it.
  RankThreads(std::span<const GlobalRank> ranks, RankWorld& world);
  ~RankThreads();

  // Once. `function` is as that of RunRanks.
  void Start(absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function);

  // Until every rank has ended. `on_stuck` and `timeout` are those of RunRanksOptions.
  void Await(absl::Duration timeout,
             const std::function<void(const absl::Status& failure,
                                      std::span<const GlobalRank> ranks)>& on_stuck);

  // OK, or the first failure of the run with the payloads of RunRanks.
  absl::Status Outcome();

 private:
  void End(GlobalRank rank, const absl::Status& status);
  bool AllEnded() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return num_ended_ == results_.size(); }
  absl::Status OutcomeSoFar() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::vector<GlobalRank> ranks_;
  RankWorld& world_;
  std::vector<std::thread> threads_;
  absl::Mutex mutex_;
  std::map<GlobalRank, std::optional<absl::Status>> results_ ABSL_GUARDED_BY(mutex_);
  size_t num_ended_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_RANK_THREADS_H_
