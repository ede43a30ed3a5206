#include "hetero/trainer/timing/timed_program.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/log/check.h"
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {
namespace {

// What hosts send each other between two steps.
constexpr int64_t kWishesBytes = 24;

}  // namespace

TimedOp TimeOperation(const Op& op, const OpCalls& calls, const MachineTable& machine) {
  TimedOp timed = {.op = op};
  double num_calls = 0;
  for (const auto& [name, totals] : calls.operations) {
    timed.work_seconds += machine.OperationSeconds(name, totals);
    num_calls += static_cast<double>(totals.calls);
  }
  if (!machine.is_cpu()) {
    timed.work_seconds = std::max(timed.work_seconds, num_calls * machine.message().host_seconds());
  }
  double messages = 0;
  timed.num_joins = 0;
  for (const CollectiveCall& call : calls.collectives) {
    const double seconds = machine.TrafficSeconds(call.kind, call.bytes);
    if (IsPost(op.kind)) {
      // A receive is posted without bytes, and its sender accounts for them.
      if (call.bytes > 0) messages += seconds;
      continue;
    }
    timed.traffic_seconds += seconds;
    ++timed.num_joins;
    timed.joins = op.kind == OpKind::kUpdate ? Joins::kWorld : Joins::kStage;
  }
  if (machine.is_cpu()) {
    timed.work_seconds += messages;
    return timed;
  }
  if (machine.message().has_exposed_share()) {
    timed.traffic_seconds *= machine.message().exposed_share();
  }
  timed.traffic_seconds += messages;
  return timed;
}

namespace {

// What the first rank of `work` calls in `step`, by operation of its program.
absl::StatusOr<std::vector<OpCalls>> CallsOf(const Job& job, const WorkClass& work,
                                             const ShapeStep& step, const StopSignals& signals) {
  const std::unique_ptr<CommunicatorFactory> loopback =
      LoopbackFactory(work.first_rank, job.layout->world_size());
  std::unique_ptr<CallRecorder> recorder;
  EngineOptions options =
      MakeEngineOptions(job, work.first_rank, ShapeOnlyDevice(job), *loopback, step.contents);
  options.stop_requested = [&signals] { return signals.requested() != 0; };
  options.before_operation = [&recorder](size_t place) { recorder->Begin(place); };
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  CallLedger& ledger = trainer->engine().stream().ledger();
  ledger.Reset();
  ledger.RecordCollectives(true);
  recorder = std::make_unique<CallRecorder>(ledger);
  HETERO_RETURN_IF_ERROR(trainer->Queue(step.step)).With("prediction of the step's time");
  recorder->End();
  std::vector<OpCalls> calls = recorder->operations();
  calls.resize(job.train.classes[work.rank_class].train.size());
  return calls;
}

}  // namespace

absl::StatusOr<TimedRanks> TimeProgram(const Job& job, const WorkClass& work,
                                       std::span<const ShapeStep> steps,
                                       const MachineTable& machine, const StopSignals& signals,
                                       std::set<std::string>& unknown) {
  const RankClass& ranks = job.train.classes[work.rank_class];
  TimedRanks timed = {
      .stages = ranks.stages, .program = work.rank_class, .num_ranks = work.num_ranks};
  for (const Op& op : ranks.train) timed.ops.push_back({.op = op});
  for (const ShapeStep& step : steps) {
    HETERO_ASSIGN_OR_RETURN(const std::vector<OpCalls> calls, CallsOf(job, work, step, signals));
    for (size_t place = 0; place < ranks.train.size(); ++place) {
      const TimedOp of_step = TimeOperation(ranks.train[place], calls[place], machine);
      TimedOp& mean = timed.ops[place];
      mean.work_seconds += step.share * of_step.work_seconds;
      mean.traffic_seconds += step.share * of_step.traffic_seconds;
      mean.joins = std::max(mean.joins, of_step.joins);
      mean.num_joins = std::max(mean.num_joins, of_step.num_joins);
      for (const auto& [name, totals] : calls[place].operations) {
        if (!machine.Has(name)) unknown.emplace(name);
      }
    }
  }
  if (job.layout->world_size() == 1) return timed;
  const double wishes = machine.TrafficSeconds("all_reduce", kWishesBytes);
  timed.ops.push_back({.op = {.kind = OpKind::kFinishStep, .stage = ranks.stages.front()},
                       .joins = machine.is_cpu() ? Joins::kWorld : Joins::kNobody,
                       .traffic_seconds = machine.is_cpu() ? wishes : 0});
  return timed;
}

}  // namespace hetero
