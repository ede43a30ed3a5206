#include "hetero/comm/processes/processes_world.h"

#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/processes/processes_communicator.h"
#include "hetero/comm/processes/processes_state.h"

namespace hetero {
namespace {

class ProcessesFactory final : public CommunicatorFactory {
 public:
  explicit ProcessesFactory(internal::ProcessesState& state) : state_(state) {}

  absl::StatusOr<std::unique_ptr<Communicator>> Create(
      const CommunicatorKey& key, const CommunicatorOptions& options) override {
    const Rendezvous& rendezvous = state_.rendezvous();
    HETERO_ASSIGN_OR_RETURN(const GroupRank rank,
                            CheckKey(key, options, rendezvous.rank(), rendezvous.world_size()));
    return internal::ProcessesCommunicator::Create(key, rank, options, state_);
  }

  void AbortAll(const absl::Status& cause) override { state_.rendezvous().Abort(cause); }

 private:
  internal::ProcessesState& state_;
};

}  // namespace

ProcessesWorld::ProcessesWorld(std::unique_ptr<internal::ProcessesState> state)
    : state_(std::move(state)) {}
ProcessesWorld::~ProcessesWorld() = default;

absl::StatusOr<std::unique_ptr<ProcessesWorld>> ProcessesWorld::Create(Rendezvous& rendezvous) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<internal::ProcessesState> state,
                          internal::ProcessesState::Create(rendezvous));
  return std::unique_ptr<ProcessesWorld>(new ProcessesWorld(std::move(state)));
}

std::unique_ptr<CommunicatorFactory> ProcessesWorld::Factory(GlobalRank rank) {
  CHECK_EQ(rank.value(), state_->rendezvous().rank().value());
  return std::make_unique<ProcessesFactory>(*state_);
}

void ProcessesWorld::Abort(const absl::Status& cause) { state_->rendezvous().Abort(cause); }

absl::Status ProcessesWorld::HealthCheck() const { return state_->rendezvous().HealthCheck(); }

std::string ProcessesWorld::DescribeLastCalls() const { return state_->DescribeLastCalls(); }

std::vector<RankFlight> ProcessesWorld::Flights() const { return state_->Flights(); }

}  // namespace hetero
