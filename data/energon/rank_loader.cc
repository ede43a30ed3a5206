#include "hetero/data/energon/rank_loader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/worker_record.h"

namespace hetero::data {
namespace {

// Whose turn it is among the workers of a rank; nothing where no turns lead there.
std::optional<size_t> TurnOf(std::span<const WorkerState> workers) {
  std::vector<size_t> live;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (workers[i].round.num_rounds != workers[0].round.num_rounds) return std::nullopt;
    if (!workers[i].round.has_ended) live.push_back(i);
  }
  if (live.empty()) return 0;
  const auto batches = [&](size_t i) { return workers[i].round.num_batches; };
  const int64_t most = batches(live.front());
  const auto next =
      std::find_if(live.begin(), live.end(), [&](size_t i) { return batches(i) != most; });
  const auto is_behind = [&](size_t i) { return batches(i) == most - 1; };
  if (!std::all_of(next, live.end(), is_behind)) return std::nullopt;
  return next == live.end() ? live.front() : *next;
}

}  // namespace

RankLoader::RankLoader(const std::shared_ptr<const LoaderPlan>& plan, int64_t rank)
    : RankLoader(plan, rank, std::vector<WorkerState>(plan->options().shape.WorkersOfRank())) {}

RankLoader::RankLoader(const std::shared_ptr<const LoaderPlan>& plan, int64_t rank,
                       std::span<const WorkerState> states)
    : plan_(plan), first_worker_(rank * plan->options().shape.WorkersOfRank()) {
  for (size_t i = 0; i < states.size(); ++i) {
    workers_.emplace_back(plan, first_worker_ + static_cast<int64_t>(i), states[i]);
  }
}

absl::StatusOr<RankLoader> RankLoader::Restore(const std::shared_ptr<const LoaderPlan>& plan,
                                               int64_t rank, std::span<const std::string> records) {
  const LoaderShape& shape = plan->options().shape;
  if (std::ssize(records) != shape.AllWorkers()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "there are %d records; %d ranks of %d workers restore %d, one of each", records.size(),
        shape.num_ranks, shape.WorkersOfRank(), shape.AllWorkers()));
  }
  const int64_t first = rank * shape.WorkersOfRank();
  std::vector<WorkerState> states;
  for (int64_t worker = first; worker < first + shape.WorkersOfRank(); ++worker) {
    absl::StatusOr<WorkerState> state = ParseWorkerRecord(records[worker], *plan, worker);
    HETERO_RETURN_IF_ERROR(state.status()).With(absl::StrFormat("record of worker %d", worker));
    states.push_back(*std::move(state));
  }
  const std::optional<size_t> turn = TurnOf(states);
  if (!turn.has_value()) {
    const auto append = [](std::string* out, const WorkerState& state) {
      absl::StrAppendFormat(out, "%d", state.round.num_batches);
    };
    return absl::FailedPreconditionError(absl::StrFormat(
        "workers %d to %d gave %s batches, which no turns of one rank lead to; save when every "
        "rank has given the same multiple of %d batches",
        first, first + shape.WorkersOfRank() - 1, absl::StrJoin(states, ", ", append),
        shape.WorkersOfRank()));
  }
  RankLoader loader(plan, rank, states);
  loader.turn_ = *turn;
  return loader;
}

std::vector<SampleReference> RankLoader::Next() {
  for (size_t tried = 0; tried < workers_.size(); ++tried) {
    WorkerStream& worker = workers_[turn_];
    turn_ = (turn_ + 1) % workers_.size();
    if (worker.round().has_ended) continue;
    if (std::vector<SampleReference> batch = worker.Next(); !batch.empty()) return batch;
  }
  for (WorkerStream& worker : workers_) worker.BeginRound();
  turn_ = 0;
  return {};
}

std::vector<std::string> RankLoader::Save() const {
  std::vector<std::string> records;
  for (size_t i = 0; i < workers_.size(); ++i) {
    records.push_back(
        FormatWorkerRecord(*plan_, first_worker_ + static_cast<int64_t>(i), workers_[i].state()));
  }
  return records;
}

}  // namespace hetero::data
