#include "hetero/tools/bench/exposed.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tensor/stream.h"
#include "hetero/tools/bench/cases.h"
#include "hetero/tools/bench/operands.h"
#include "hetero/tools/bench/switched_communicator.h"

namespace hetero::bench {
namespace {

constexpr int kWarmUpCalls = 3;

enum class Family : uint8_t { kTensorParallel, kExpertParallel, kDataParallel };

constexpr std::string_view Name(Family family) {
  constexpr std::string_view kNames[] = {"tp ", "ep ", "dp "};
  return kNames[static_cast<int>(family)];
}

// What a rank measures of a layer: microseconds of a call in every sample.
struct Samples {
  std::string name;
  std::vector<double> with_us, serial_us, without_us, alone_us;
};

// A rank's device, and the time of its calls.
class Rank {
 public:
  Rank(Device device, const ExposedOptions& options) : device_(device), options_(options) {}

  // Errors: those of the device.
  absl::Status Create(int64_t activation_bytes, int64_t workspace_bytes) {
    stream_.reset();
    const auto arena = [&](Arena& to, MemoryLabel label, int64_t bytes) -> absl::Status {
      HETERO_ASSIGN_OR_RETURN(to, Arena::Create(device_, label, bytes, memory_));
      return absl::OkStatus();
    };
    HETERO_RETURN_IF_ERROR(arena(activations_, MemoryLabel::kActivations, activation_bytes));
    HETERO_RETURN_IF_ERROR(arena(workspace_, MemoryLabel::kWorkspace, workspace_bytes));
    HETERO_ASSIGN_OR_RETURN(stream_, Stream::Create(device_, workspace_));
    HETERO_ASSIGN_OR_RETURN(one_, Buffer::Allocate(device_, MemoryLabel::kData, 4, memory_));
    HETERO_ASSIGN_OR_RETURN(start_, Event::CreateTimed(device_));
    HETERO_ASSIGN_OR_RETURN(end_, Event::CreateTimed(device_));
    return absl::OkStatus();
  }

  Stream& stream() { return *stream_; }

  absl::Status Run(const Call& call) {
    activations_.Release(0);
    ModuleContext context = {.stream = *stream_, .activations = activations_};
    return call(context);
  }

  // Microseconds of a call; all members begin together.
  absl::StatusOr<double> Sample(Communicator& communicator,
                                absl::FunctionRef<absl::Status()> call) {
    HETERO_RETURN_IF_ERROR(stream_->Synchronize());
    const TensorView one = one_.View(DType::kI32, {1});
    HETERO_RETURN_IF_ERROR(communicator.AllReduce(one, one, ReduceOp::kMax, *stream_, "meeting"));
    HETERO_RETURN_IF_ERROR(start_.Record(*stream_));
    for (int i = 0; i < options_.calls; ++i) HETERO_RETURN_IF_ERROR(call());
    HETERO_RETURN_IF_ERROR(end_.Record(*stream_));
    HETERO_RETURN_IF_ERROR(end_.Synchronize());
    HETERO_ASSIGN_OR_RETURN(const absl::Duration time, Event::TimeBetween(start_, end_));
    return absl::ToDoubleMicroseconds(time) / options_.calls;
  }

 private:
  const Device device_;
  const ExposedOptions& options_;
  MemoryLedger memory_;
  Arena activations_ = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  Buffer one_;
  Event start_, end_;
  std::unique_ptr<Stream> stream_;
};

// Activations and workspace of forward and backward, by the shape-only device.
absl::StatusOr<std::pair<int64_t, int64_t>> Predict(const Case& layer, Device device) {
  Arena activations = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream({.kind = DeviceKind::kShapeOnly, .predicts = device.kind}, workspace);
  Operands operands(stream, /*seed=*/1);
  HETERO_ASSIGN_OR_RETURN(const Work work, layer.make(operands));
  ModuleContext context = {.stream = stream, .activations = activations};
  HETERO_RETURN_IF_ERROR(work.forward_backward(context));
  return std::pair(activations.peak_bytes(), workspace.peak_bytes());
}

// What a rank has of a layer. Its work dies first.
struct RankLayer {
  RankLayer(GlobalRank me, Device device, const ExposedOptions& options)
      : rank(device, options), me(me), options(options) {}

  absl::StatusOr<Samples> Measure(const Case& layer, Device device,
                                  SwitchedCommunicator& communicator) {
    Samples samples = {.name = layer.name};
    HETERO_ASSIGN_OR_RETURN(const auto bytes, Predict(layer, device));
    HETERO_RETURN_IF_ERROR(rank.Create(bytes.first, bytes.second));
    operands = std::make_unique<Operands>(rank.stream(), /*seed=*/1 + me.value());
    HETERO_ASSIGN_OR_RETURN(work, layer.make(*operands));
    HETERO_RETURN_IF_ERROR(operands->status());
    HETERO_ASSIGN_OR_RETURN(SideStream* const side, rank.stream().State<SideStream>());
    const auto train = [&] { return rank.Run(work.forward_backward); };
    const auto alone = [&] { return communicator.RunRecorded(rank.stream()); };
    const auto sample = [&](SwitchedCommunicator::Mode mode, bool overlaps,
                            absl::FunctionRef<absl::Status()> call,
                            std::vector<double>& to) -> absl::Status {
      communicator.set_mode(mode);
      side->set_overlaps(overlaps);
      HETERO_ASSIGN_OR_RETURN(to.emplace_back(), rank.Sample(communicator, call));
      return absl::OkStatus();
    };
    using enum SwitchedCommunicator::Mode;
    for (int i = 0; i < kWarmUpCalls; ++i) HETERO_RETURN_IF_ERROR(train());
    communicator.set_mode(kRecord);
    HETERO_RETURN_IF_ERROR(train());
    // In turn: the clocks of a device drift.
    for (int i = 0; i <= options.samples; ++i) {
      HETERO_RETURN_IF_ERROR(sample(kRun, true, train, samples.with_us));
      HETERO_RETURN_IF_ERROR(sample(kRun, false, train, samples.serial_us));
      HETERO_RETURN_IF_ERROR(sample(kRun, false, alone, samples.alone_us));
      HETERO_RETURN_IF_ERROR(sample(kSkip, true, train, samples.without_us));
      if (i == 0) samples = {.name = layer.name};  // to warm up
    }
    HETERO_RETURN_IF_ERROR(rank.stream().Synchronize());
    return samples;
  }

  Rank rank;
  GlobalRank me;
  const ExposedOptions& options;
  std::unique_ptr<Operands> operands;
  Work work;
};

// The layers of a family on one rank.
absl::Status RunRank(const Sizes& sizes, const ExposedOptions& options, Family family,
                     GlobalRank me, Device device, CommunicatorFactory& factory,
                     std::vector<Samples>& samples) {
  std::vector<std::unique_ptr<RankLayer>> layers;  // given back when nothing waits any more
  return AbortOnFailure(me, factory, [&]() -> absl::Status {
    Group members;
    for (int64_t i = 0; i < options.num_ranks; ++i) members.emplace_back(i);
    HETERO_ASSIGN_OR_RETURN(auto made, factory.Create({"model", members}));
    SwitchedCommunicator communicator(std::move(made));
    const ShardSpec::Axis place = {.rank = me.value(), .size = options.num_ranks};
    LayerRanks ranks;
    switch (family) {
      case Family::kTensorParallel:
        ranks = {.shard = {.tp = place}, .tensor_parallel = &communicator};
        break;
      case Family::kExpertParallel:
        ranks = {.shard = {.ep = place}, .expert_parallel = &communicator};
        break;
      case Family::kDataParallel:
        ranks.data_parallel = &communicator;
        break;
    }
    for (const Case& layer : family == Family::kDataParallel ? TrafficCases(sizes, ranks)
                                                             : SharedLayerCases(sizes, ranks)) {
      layers.push_back(std::make_unique<RankLayer>(me, device, options));
      HETERO_ASSIGN_OR_RETURN(Samples measured,
                              layers.back()->Measure(layer, device, communicator));
      samples.push_back(std::move(measured));
    }
    return absl::OkStatus();
  });
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Of every sample, the slowest rank's.
std::vector<double> Slowest(const std::vector<std::vector<Samples>>& ranks, size_t layer,
                            std::vector<double> Samples::*which) {
  std::vector<double> slowest = ranks[0][layer].*which;
  for (const std::vector<Samples>& rank : ranks) {
    for (size_t i = 0; i < slowest.size(); ++i) {
      slowest[i] = std::max(slowest[i], (rank[layer].*which)[i]);
    }
  }
  return slowest;
}

}  // namespace

absl::StatusOr<std::vector<ExposedRow>> MeasureExposed(const Sizes& sizes,
                                                       const ExposedOptions& options) {
  RunRanksOptions run = {.timeout = absl::Seconds(60)};
  if (options.on_gpus) {
    run.backend = RankBackend::kNccl;
    for (int i = 0; i < options.num_ranks; ++i) run.devices.push_back({DeviceKind::kCuda, i});
  }
  std::vector<ExposedRow> rows;
  for (const Family family :
       {Family::kTensorParallel, Family::kExpertParallel, Family::kDataParallel}) {
    std::vector<std::vector<Samples>> ranks(static_cast<size_t>(options.num_ranks));
    HETERO_RETURN_IF_ERROR(RunRanks(
        options.num_ranks,
        [&](GlobalRank rank, CommunicatorFactory& factory) {
          const auto index = static_cast<size_t>(rank.value());
          return RunRank(sizes, options, family, rank,
                         options.on_gpus ? run.devices[index] : Device{}, factory, ranks[index]);
        },
        run));
    for (size_t layer = 0; layer < ranks[0].size(); ++layer) {
      const std::vector<double> with_us = Slowest(ranks, layer, &Samples::with_us);
      ExposedRow row = {
          .name = absl::StrCat(Name(family), options.num_ranks, " ", ranks[0][layer].name),
          .with_us = Median(with_us),
          .serial_us = Median(Slowest(ranks, layer, &Samples::serial_us)),
          .without_us = Median(Slowest(ranks, layer, &Samples::without_us)),
          .alone_us = Median(Slowest(ranks, layer, &Samples::alone_us))};
      const auto [least, most] = std::ranges::minmax(with_us);
      row.spread = (most - least) / row.with_us;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::string ToText(const std::vector<ExposedRow>& rows) {
  std::string text =
      absl::StrFormat("%-22s %10s %6s %10s %10s %10s %10s %10s\n", "us a layer", "with", "+-%",
                      "serial", "without", "alone", "exposed", "hidden");
  for (const ExposedRow& row : rows) {
    absl::StrAppendFormat(&text, "%-22s %10.1f %6.1f %10.1f %10.1f %10.1f %10.1f %10.1f\n",
                          row.name, row.with_us, 100 * row.spread, row.serial_us, row.without_us,
                          row.alone_us, row.exposed_us(), row.hidden_us());
  }
  return text;
}

}  // namespace hetero::bench
