#include "hetero/data/energon/lane_order.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/worker_record.h"

namespace hetero::data {
namespace {

// Of a worker: more than lie between the feed that is furthest ahead and the facts of the step that
// is furthest behind.
constexpr size_t kRecentBatches = 512;

}  // namespace

LaneOrder::LaneOrder(std::shared_ptr<const LoaderPlan> plan, IndexOf index_of)
    : plan_(std::move(plan)),
      index_of_(std::move(index_of)),
      workers_(plan_->options().shape.AllWorkers()) {}

int64_t LaneOrder::of_microbatch() const {
  return plan_->options().batch_size * plan_->options().shape.num_ranks;
}

int64_t LaneOrder::BatchesBefore(int64_t num_samples, int64_t worker) const {
  const int64_t num_turns = num_samples / of_microbatch();
  const int64_t of_lane = plan_->options().shape.WorkersOfRank();
  return (num_turns + of_lane - 1 - worker % of_lane) / of_lane;
}

WorkerStream LaneOrder::Begin(int64_t worker, int64_t batch) const {
  const std::optional<WorkerState>& restored = workers_[worker].restored;
  const bool goes_on = restored.has_value() && restored->round.num_batches <= batch;
  return WorkerStream(plan_, worker, goes_on ? *restored : WorkerState());
}

int64_t LaneOrder::IndexAt(int64_t global_index) {
  const LoaderOptions& options = plan_->options();
  const int64_t of_lane = options.shape.WorkersOfRank();
  const int64_t turn = global_index / of_microbatch();
  const int64_t lane = global_index % of_microbatch() / options.batch_size;
  const int64_t number = lane * of_lane + turn % of_lane;
  const int64_t batch = turn / of_lane;

  const absl::MutexLock lock(&mutex_);
  Worker& worker = workers_[number];
  const auto next = [&] { return worker.reading->round().num_batches; };
  if (!worker.reading.has_value() || batch < next() - std::ssize(worker.recent)) {
    worker.reading.emplace(Begin(number, batch));
    worker.recent.clear();
  }
  while (next() <= batch) {
    std::vector<int64_t>& numbers = worker.recent.emplace_back();
    for (const SampleReference& sample : worker.reading->Next()) {
      numbers.push_back(index_of_(sample));
    }
    if (worker.recent.size() > kRecentBatches) worker.recent.pop_front();
  }
  const std::vector<int64_t>& numbers = worker.recent[batch - (next() - std::ssize(worker.recent))];
  return numbers[global_index % options.batch_size];
}

std::vector<std::string> LaneOrder::Save(int64_t num_samples) {
  const absl::MutexLock lock(&mutex_);
  std::vector<std::string> records;
  for (size_t i = 0; i < workers_.size(); ++i) {
    const auto number = static_cast<int64_t>(i);
    const int64_t batches = BatchesBefore(num_samples, number);
    std::optional<WorkerStream>& saving = workers_[i].saving;
    if (!saving.has_value() || saving->round().num_batches > batches) {
      saving.emplace(Begin(number, batches));
    }
    while (saving->round().num_batches < batches) saving->Next();
    records.push_back(FormatWorkerRecord(*plan_, number, saving->state()));
  }
  return records;
}

absl::Status LaneOrder::Restore(int64_t num_samples, std::span<const std::string> records) {
  const LoaderShape& shape = plan_->options().shape;
  const int64_t saved = std::ssize(records);
  if (saved != shape.AllWorkers()) {
    const std::string nearest =
        saved % shape.num_ranks == 0
            ? absl::StrFormat("nearest: %d workers of a lane", saved / shape.num_ranks)
            : absl::StrFormat("nearest: lanes that divide %d", saved);
    return absl::FailedPreconditionError(absl::StrFormat(
        "the order was that of %d workers, and %d lanes of %d workers have another; %s", saved,
        shape.num_ranks, shape.WorkersOfRank(), nearest));
  }
  std::vector<WorkerState> states;
  for (int64_t worker = 0; worker < saved; ++worker) {
    absl::StatusOr<WorkerState> state = ParseWorkerRecord(records[worker], *plan_, worker);
    HETERO_RETURN_IF_ERROR(state.status()).With(absl::StrFormat("worker %d", worker));
    const int64_t batches = BatchesBefore(num_samples, worker);
    if (state->round.num_batches != batches) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "worker %d gave %d batches of %d samples, in turns of %d workers a lane it gives %d of "
          "the first %d samples; go on with the lanes and the micro batch size of before",
          worker, state->round.num_batches, plan_->options().batch_size, shape.WorkersOfRank(),
          batches, num_samples));
    }
    states.push_back(*std::move(state));
  }
  const absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i].restored == states[i]) continue;
    workers_[i] = {};
    workers_[i].restored = std::move(states[i]);
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
