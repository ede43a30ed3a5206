#include "hetero/trainer/timing/calibration.h"

#include <cmath>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/tensor/operation_timer.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/timing/call_recorder.h"

namespace hetero {
namespace {

// One rank on its device, whose operations are told apart by the operation of the program.
class LoneRank {
 public:
  LoneRank(const Job& job, const WorkClass& work, const Prediction& prediction, Device device,
           const StopSignals& signals)
      : job_(job), work_(work), prediction_(prediction), device_(device), signals_(signals) {}

  absl::Status Run(int num_steps) {
    const std::unique_ptr<CommunicatorFactory> loopback =
        LoopbackFactory(work_.first_rank, job_.layout->world_size());
    EngineOptions options = MakeEngineOptions(job_, work_.first_rank, device_, *loopback);
    options.memory = prediction_.arenas;
    options.stop_requested = [this] { return signals_.requested() != 0; };
    options.before_operation = [this](size_t place) { Begin(place); };
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                            RankTrainer::Create(std::move(options), *job_.optimizer));
    stream_ = &trainer->engine().stream();
    HETERO_RETURN_IF_ERROR(trainer->Queue(0));
    HETERO_RETURN_IF_ERROR(trainer->Result().status());
    const absl::Status measured = Measure(*trainer, num_steps);
    stream_->TimeOperations(nullptr);
    return measured;
  }

  void AddTo(OperationTimes& times) const {
    const std::vector<Op>& ops = job_.train.classes[work_.rank_class].train;
    std::map<std::pair<int, OpKind>, std::map<std::string_view, OperationTotals>> sums;
    for (size_t place = 0; place < recorder_->operations().size(); ++place) {
      // Sums without the others' parts may keep an optimizer from its update.
      if (job_.layout->world_size() > 1 && ops[place].kind >= OpKind::kReduceGradients) continue;
      auto& sum = sums[{ops[place].stage, ops[place].kind}];
      for (const auto& [name, totals] : recorder_->operations()[place].operations) {
        OperationTotals& of_name = sum[name];
        of_name.calls += totals.calls;
        of_name.flops += totals.flops;
        of_name.bytes += totals.bytes;
        of_name.time += totals.time;
      }
    }
    double calls = 0;
    for (const auto& [where, sum] : sums) {
      for (const auto& [name, totals] : sum) {
        times.operations[std::string(name)].push_back(
            {.calls = static_cast<double>(totals.calls),
             .flops = totals.flops,
             .bytes = totals.bytes,
             .seconds = absl::ToDoubleSeconds(totals.time)});
        calls += static_cast<double>(totals.calls);
      }
    }
    if (job_.layout->world_size() > 1) return;
    times.calls += calls;
    times.host_seconds += host_seconds_;
  }

 private:
  absl::Status Measure(RankTrainer& trainer, int num_steps) {
    if (device_.IsCuda()) {
      HETERO_RETURN_IF_ERROR(stream_->Synchronize());
      // How fast the host queues a step whose results it does not wait for.
      const absl::Time start = absl::Now();
      HETERO_RETURN_IF_ERROR(trainer.Queue(1));
      host_seconds_ = absl::ToDoubleSeconds(absl::Now() - start) * num_steps;
      HETERO_RETURN_IF_ERROR(trainer.Result().status());
      HETERO_ASSIGN_OR_RETURN(OperationTimer timer, OperationTimer::Create(device_));
      timer_ = std::make_unique<OperationTimer>(std::move(timer));
      stream_->TimeOperations(timer_.get());
    }
    recorder_ = std::make_unique<CallRecorder>(calls());
    const absl::Duration start = ThreadTime();
    const absl::Duration before = InOperations();
    for (int step = 0; step < num_steps; ++step) {
      HETERO_RETURN_IF_ERROR(trainer.Queue(2 + step));
      HETERO_RETURN_IF_ERROR(Settle());
      recorder_->End();
      HETERO_RETURN_IF_ERROR(trainer.Result().status());
    }
    if (!device_.IsCuda()) {
      host_seconds_ = absl::ToDoubleSeconds(ThreadTime() - start - (InOperations() - before));
    }
    return status_;
  }

  void Begin(size_t place) {
    if (recorder_ == nullptr) return;
    status_.Update(Settle());
    recorder_->Begin(place);
  }

  // Until the account has all operations queued so far.
  absl::Status Settle() { return timer_ == nullptr ? absl::OkStatus() : timer_->Collect(); }

  const CallLedger& calls() const {
    return timer_ == nullptr ? stream_->ledger() : timer_->calls();
  }
  absl::Duration InOperations() const {
    absl::Duration time;
    for (const auto& [name, totals] : calls().operations()) time += totals.time;
    return time;
  }

  const Job& job_;
  const WorkClass& work_;
  const Prediction& prediction_;
  const Device device_;
  const StopSignals& signals_;
  Stream* stream_ = nullptr;
  std::unique_ptr<OperationTimer> timer_;
  std::unique_ptr<CallRecorder> recorder_;
  absl::Status status_;
  double host_seconds_ = 0;
};

}  // namespace

absl::Status MeasureOperations(const Job& job, Device device, const CalibrationOptions& options,
                               const StopSignals& signals, OperationTimes& times) {
  if (!device.IsCuda()) {
    HETERO_RETURN_IF_ERROR(cpu::PrepareProducts());
  }
  HETERO_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, PredictClasses(job, signals));
  for (size_t i = 0; i < job.work.classes.size(); ++i) {
    std::vector<std::unique_ptr<LoneRank>> ranks;
    for (int t = 0; t < options.num_threads; ++t) {
      ranks.push_back(
          std::make_unique<LoneRank>(job, job.work.classes[i], predictions[i], device, signals));
    }
    std::vector<absl::Status> statuses(ranks.size());
    std::vector<std::thread> threads;
    for (size_t t = 0; t < ranks.size(); ++t) {
      threads.emplace_back([&, t] { statuses[t] = ranks[t]->Run(options.num_steps); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const absl::Status& status : statuses) HETERO_RETURN_IF_ERROR(status);
    for (const std::unique_ptr<LoneRank>& rank : ranks) rank->AddTo(times);
  }
  return absl::OkStatus();
}

void AddRates(const OperationTimes& operations, const TrafficTimes& traffic,
              proto::Machine& machine) {
  const auto set = [](double seconds_per_unit, auto set_rate) {
    // Beyond it a term is nothing.
    if (seconds_per_unit > 1e-18) set_rate(1 / seconds_per_unit);
  };
  for (const auto& [name, times] : operations.operations) {
    const FittedRates rates = FitRates(times);
    if (rates.call <= 0 && rates.flop <= 0 && rates.byte <= 0) continue;
    proto::OperationRate& row = *machine.add_operations();
    row.set_name(name);
    if (rates.call > 0) row.set_call_seconds(rates.call);
    set(rates.flop, [&](double rate) { row.set_flops_per_second(rate); });
    set(rates.byte, [&](double rate) { row.set_bytes_per_second(rate); });
  }
  for (const auto& [kind, times] : traffic.kinds) {
    const FittedRates rates = FitRates(times);
    proto::TrafficRate& row = *machine.add_traffic();
    row.set_kind(kind);
    row.set_call_seconds(rates.call);
    row.set_bytes_per_second(rates.byte > 1e-18 ? 1 / rates.byte : 1e18);
  }
  if (operations.calls > 0) machine.set_host_seconds(operations.host_seconds / operations.calls);
  machine.set_wake_seconds(traffic.wake_seconds);
}

}  // namespace hetero
