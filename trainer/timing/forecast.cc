#include "hetero/trainer/timing/forecast.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/trainer/report/step_work.h"
#include "hetero/trainer/timing/timed_program.h"

namespace hetero {
namespace {

// Samples whose mean is taken: enough that their sizes have a mean, few enough to read at once.
constexpr int64_t kSamples = 256;
constexpr int64_t kMaxSteps = 4;

absl::Status CheckMachine(const Job& job, const MachineTable& machine) {
  const bool on_cpu = job.config.device() != proto::RunConfig::CUDA;
  const auto name = [](bool is_cpu) { return is_cpu ? "CPU" : "CUDA"; };
  if (on_cpu != machine.is_cpu()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--machine is a table of device ", name(machine.is_cpu()), ", the run's device is ",
        name(on_cpu), "; nearest: --device=", machine.is_cpu() ? "cpu" : "cuda"));
  }
  const DType measured =
      machine.message().storage() == proto::Machine::BF16 ? DType::kBF16 : DType::kF32;
  const DType storage = StorageOf(job.config);
  if (measured == storage) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--machine is a table of operations in ", Name(measured), ", the run's are in ",
      Name(storage), "; nearest: --set precision=", measured == DType::kBF16 ? "BF16" : "F32"));
}

// By definition, of a step.
absl::StatusOr<StepWork> WorkOf(const Job& job, std::span<const ShapeStep> steps) {
  if (job.samples.has_value()) {
    const auto num_steps = std::ssize(steps);
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<StepWorkCounter> counter,
        StepWorkCounter::Create(*job.model, job.samples->train, job.config.sequence_length(),
                                data::BatchSchedule(job.train.batch.global_batch_size)));
    StepWork sum;
    for (int64_t step = 0; step < num_steps; ++step) {
      HETERO_ASSIGN_OR_RETURN(const StepWork work, counter->Of(step));
      sum.tokens += work.tokens / static_cast<double>(num_steps);
      sum.flops.resize(work.flops.size());
      for (size_t m = 0; m < work.flops.size(); ++m) {
        sum.flops[m].name = work.flops[m].name;
        sum.flops[m].value += work.flops[m].value / static_cast<double>(num_steps);
      }
    }
    return sum;
  }
  const auto samples = static_cast<double>(job.train.batch.global_batch_size);
  StepWork work = {.tokens = samples * static_cast<double>(job.config.sequence_length())};
  for (const std::string& module : job.model->graph().ModuleNames()) {
    NamedValue& flops = work.flops.emplace_back(NamedValue{module, 0});
    for (const ShapeStep& step : steps) {
      const SampleLimits& limits =
          step.contents.limits != nullptr ? *step.contents.limits : job.limits;
      const SampleFacts sample = LargestSample(job.config.sequence_length(), limits);
      flops.value += step.share * samples * job.model->FlopsOf(module, sample).training;
    }
  }
  return work;
}

std::vector<ModuleForecast> ForecastModules(const Job& job, const MachineTable& machine,
                                            const StepWork& work, std::span<const TimedRanks> ranks,
                                            const StepTime& step) {
  std::vector<ModuleForecast> modules;
  const auto world = static_cast<double>(job.layout->world_size());
  const double share_of_device =
      machine.is_cpu() ? std::min(1.0, static_cast<double>(machine.message().cores()) / world) : 1;
  for (const NamedValue& flops : work.flops) {
    double num_ranks = 0;
    double waiting = 0;
    for (size_t r = 0; r < ranks.size(); ++r) {
      const bool holds = std::ranges::any_of(
          ranks[r].stages, [&](int stage) { return job.train.stages[stage].module == flops.name; });
      if (!holds) continue;
      const auto count = static_cast<double>(ranks[r].num_ranks);
      num_ranks += count;
      waiting += count * (step.ranks[r].transferring + step.ranks[r].joining);
    }
    const double could = num_ranks * share_of_device * machine.message().peak_flops();
    modules.push_back({.name = flops.name,
                       .bubble = waiting / (num_ranks * step.seconds),
                       .mfu = flops.value / (could * step.seconds)});
  }
  return modules;
}

std::vector<WaitForecast> ForecastWaits(const StepPlan& plan, std::span<const TimedRanks> ranks,
                                        const StepTime& step) {
  struct Sum {
    double ranks = 0;
    double seconds = 0;
  };
  std::map<std::pair<std::string, std::string>, Sum> sums;
  for (size_t r = 0; r < ranks.size(); ++r) {
    const std::string who = plan.ClassName(plan.classes[ranks[r].program]);
    const auto count = static_cast<double>(ranks[r].num_ranks);
    const auto add = [&](const std::string& what, double seconds) {
      Sum& sum = sums[{who, what}];
      sum.ranks += count;
      sum.seconds += count * seconds;
    };
    for (size_t c = 0; c < step.ranks[r].waits.size(); ++c) {
      const int channel = static_cast<int>(c);
      const double seconds = step.ranks[r].waits[c];
      add(absl::StrCat(plan.edges[EdgeOf(channel)].name,
                       IsForward(channel) ? " forward" : " backward"),
          seconds);
    }
    add("peers of collectives", step.ranks[r].joining);
  }
  std::vector<WaitForecast> waits;
  for (const auto& [key, sum] : sums) {
    if (sum.seconds <= 0) continue;
    waits.push_back({.who = key.first, .what = key.second, .seconds = sum.seconds / sum.ranks});
  }
  std::ranges::stable_sort(waits, std::ranges::greater(), &WaitForecast::seconds);
  return waits;
}

// What is run on shapes, and what that is in words.
std::vector<ShapeStep> StepsOf(const Job& job, std::span<const SampleShare> shares,
                               std::string& samples) {
  std::vector<ShapeStep> steps;
  if (job.samples.has_value()) {
    const int64_t count =
        std::clamp<int64_t>(kSamples / job.train.batch.global_batch_size, 1, kMaxSteps);
    for (int64_t step = 0; step < count; ++step) {
      steps.push_back(
          {.step = step, .contents = {.counted = true}, .share = 1 / static_cast<double>(count)});
    }
    samples = absl::StrCat("the samples of ", Counted(count, "step"));
    return steps;
  }
  for (const SampleShare& share : shares) {
    steps.push_back({.contents = {.limits = &share.limits}, .share = share.share});
  }
  samples = absl::StrCat("samples of ", Counted(steps.size(), "size"), ", a loss on every token");
  if (!steps.empty()) return steps;
  samples = "every sample the largest possible";
  return {ShapeStep()};
}

}  // namespace

absl::StatusOr<StepForecast> ForecastStep(const Job& job, const MachineTable& machine,
                                          const StopSignals& signals,
                                          std::span<const SampleShare> shares) {
  HETERO_RETURN_IF_ERROR(CheckMachine(job, machine));
  StepForecast forecast;
  const std::vector<ShapeStep> steps = StepsOf(job, shares, forecast.samples);
  std::vector<TimedRanks> ranks;
  std::set<std::string> unknown;
  for (const WorkClass& work : job.work.classes) {
    HETERO_ASSIGN_OR_RETURN(TimedRanks timed,
                            TimeProgram(job, work, steps, machine, signals, unknown));
    ranks.push_back(std::move(timed));
  }
  std::vector<LinkEnds> channels;
  for (const PlanEdge& edge : job.train.edges) {
    channels.push_back({edge.source, edge.destination});
    channels.push_back({edge.destination, edge.source});
  }
  HETERO_ASSIGN_OR_RETURN(const StepTime step,
                          Simulate(ranks, channels,
                                   {.cores = static_cast<double>(machine.message().cores()),
                                    .wake_seconds = machine.message().wake_seconds()}));
  HETERO_ASSIGN_OR_RETURN(const StepWork work, WorkOf(job, steps));
  forecast.seconds = step.seconds;
  forecast.tokens_per_second = work.tokens / step.seconds;
  forecast.modules = ForecastModules(job, machine, work, ranks, step);
  forecast.waits = ForecastWaits(job.train, ranks, step);
  forecast.unknown.assign(unknown.begin(), unknown.end());
  return forecast;
}

std::string DescribeForecast(const StepForecast& forecast, const MachineTable& machine) {
  std::string text = absl::StrFormat("predicted step time: %.2f ms, %.0f tokens/s, on %s; %s",
                                     forecast.seconds * 1e3, forecast.tokens_per_second,
                                     machine.message().description(), forecast.samples);
  for (const ModuleForecast& module : forecast.modules) {
    absl::StrAppendFormat(&text, "\n  %-24s bubble %5.1f %%  MFU %5.1f %%", module.name,
                          100 * module.bubble, 100 * module.mfu);
  }
  for (const WaitForecast& wait : forecast.waits) {
    absl::StrAppendFormat(&text, "\n  %s waits %.2f ms for %s", wait.who, wait.seconds * 1e3,
                          wait.what);
  }
  if (!forecast.unknown.empty()) {
    absl::StrAppend(&text, "\n  by bytes and FLOPs alone, as the table has no row for them: ",
                    absl::StrJoin(forecast.unknown, ", "));
  }
  return text;
}

}  // namespace hetero
