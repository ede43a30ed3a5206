#ifndef HETERO_TRAINER_TEAM_H_
#define HETERO_TRAINER_TEAM_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/grid/rank.h"
#include "hetero/tensor/device.h"

namespace hetero {

// The ranks of a run, of which this process has all, as threads, or one.
class Team {
 public:
  // `logging` is the rank that reports. `rendezvous` is of this process's one rank and outlives the
  // team; null: all ranks are here. Precondition: a rendezvous knows `world_size` ranks.
  Team(int64_t world_size, GlobalRank logging, Rendezvous* rendezvous)
      : world_size_(world_size), logging_(logging), rendezvous_(rendezvous) {}

  bool is_one_process() const { return rendezvous_ == nullptr; }
  bool IsHere(GlobalRank rank) const { return is_one_process() || rendezvous_->rank() == rank; }
  GlobalRank logging() const { return logging_; }
  bool logs() const { return IsHere(logging_); }

  // All processes have the same `text`, which is compared line by line. Errors: INVALID_ARGUMENT
  // naming `what`, both ranks and the first lines that differ.
  absl::Status Agree(std::string_view what, const std::string& text);
  // No two processes have the same `text`. Errors: INVALID_ARGUMENT naming `what` and the first two
  // ranks that have, before `rule`.
  absl::Status Differ(std::string_view what, const std::string& text, std::string_view rule);
  // What the process of the logging rank has as `text`. Called by all in the same order.
  absl::StatusOr<std::string> OfLogging(std::string_view what, const std::string& text);

  // What every rank has as `texts`, by rank, in the process of the logging rank; nothing in others.
  // A process gives those of its own ranks. Called by all in the same order.
  absl::StatusOr<std::vector<std::string>> ToLogging(std::string_view what,
                                                     std::vector<std::string> texts);

  // Waits until all processes are in the call of that name, which nobody uses twice.
  absl::Status Meet(std::string_view name);
  // Of this process, of that of rank 0.
  absl::StatusOr<absl::Duration> ClockAhead();

  // This process works at something that the others may wait for.
  void GotOn();
  // Whether the run has failed elsewhere.
  bool has_failed() const { return !is_one_process() && !rendezvous_->HealthCheck().ok(); }

  struct Options {
    absl::Duration timeout;
    std::vector<Device> devices;  // by rank, here those of this process are used
    std::function<void(const absl::Status&, std::span<const GlobalRank>)> on_stuck;
  };
  // Calls `function` for the ranks of this process: RunRanks or RunRank.
  absl::Status Run(absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                   const Options& options);

 private:
  const int64_t world_size_;
  const GlobalRank logging_;
  Rendezvous* const rendezvous_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_TEAM_H_
