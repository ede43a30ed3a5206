#include "hetero/comm/threads/threads_world.h"

#include <utility>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/threads/threads_communicator.h"
#include "hetero/comm/threads/threads_state.h"

namespace hetero {
namespace {

class ThreadsFactory final : public CommunicatorFactory {
 public:
  ThreadsFactory(GlobalRank rank, internal::ThreadsState& state) : rank_(rank), state_(state) {}

  absl::StatusOr<std::unique_ptr<Communicator>> Create(
      const CommunicatorKey& key, const CommunicatorOptions& options) override {
    HETERO_ASSIGN_OR_RETURN(const GroupRank rank,
                            CheckKey(key, options, rank_, state_.num_ranks()));
    return std::make_unique<internal::ThreadsCommunicator>(key, rank, options, state_.GroupOf(key));
  }

  void AbortAll(const absl::Status& cause) override { state_.Abort(cause); }

 private:
  GlobalRank rank_;
  internal::ThreadsState& state_;
};

}  // namespace

ThreadsWorld::ThreadsWorld(int64_t num_ranks, ThreadsOptions options)
    : state_(std::make_unique<internal::ThreadsState>(num_ranks, options.timeout, "threads")) {}

ThreadsWorld::~ThreadsWorld() = default;

int64_t ThreadsWorld::num_ranks() const { return state_->num_ranks(); }

std::unique_ptr<CommunicatorFactory> ThreadsWorld::Factory(GlobalRank rank) {
  CHECK(rank.value() >= 0 && rank.value() < num_ranks());
  return std::make_unique<ThreadsFactory>(rank, *state_);
}

void ThreadsWorld::Abort(const absl::Status& cause) { state_->Abort(cause); }

absl::Status ThreadsWorld::HealthCheck() const { return state_->cause(); }

std::string ThreadsWorld::DescribeLastCalls() const { return state_->DescribeLastCalls(); }

std::vector<RankFlight> ThreadsWorld::Flights() const { return state_->Flights(); }

}  // namespace hetero
