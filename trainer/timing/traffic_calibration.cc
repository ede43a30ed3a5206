#include <algorithm>
#include <functional>
#include <string_view>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/timing/calibration.h"

namespace hetero {
namespace {

constexpr int64_t kElements[] = {1 << 6, 1 << 10, 1 << 14, 1 << 18, 1 << 20};
constexpr int kRepeats = 5;
constexpr int64_t kElementsOnGpu[] = {1 << 8, 1 << 14, 1 << 18, 1 << 22, 1 << 24};

// A rank among others that do the same.
class TrafficRank {
 public:
  static absl::StatusOr<std::unique_ptr<TrafficRank>> Create(Device device, int64_t num_ranks,
                                                             int64_t most_elements) {
    auto rank = std::unique_ptr<TrafficRank>(new TrafficRank(device, num_ranks));
    HETERO_ASSIGN_OR_RETURN(rank->workspace_, Arena::Create(device, MemoryLabel::kWorkspace,
                                                            int64_t{1} << 20, rank->memory_));
    HETERO_ASSIGN_OR_RETURN(rank->stream_, Stream::Create(device, rank->workspace_));
    for (Buffer* buffer : {&rank->from_, &rank->to_}) {
      HETERO_ASSIGN_OR_RETURN(
          *buffer,
          Buffer::Allocate(device, MemoryLabel::kBridge,
                           most_elements * num_ranks * SizeOf(DType::kF32), rank->memory_));
    }
    return rank;
  }

  // One call of `kind` with `count` elements for each member. Returns the bytes that it sends.
  absl::Status Call(std::string_view kind, int64_t count, Communicator& communicator) {
    const TensorView from = from_.View(DType::kF32, {num_ranks_ * count});
    const TensorView to = to_.View(DType::kF32, {num_ranks_ * count});
    if (kind == "all_reduce") {
      return communicator.AllReduce(from, to, ReduceOp::kSum, *stream_, "traffic");
    }
    if (kind == "reduce_scatter") {
      return communicator.ReduceScatter(from, to.Rows(0, count), *stream_, "traffic");
    }
    if (kind == "all_gather") {
      return communicator.AllGather(from.Rows(0, count), to, *stream_, "traffic");
    }
    if (kind == "all_to_all") {
      const std::vector<int64_t> rows(num_ranks_, count);
      return communicator.AllToAllV(from, rows, to, rows, *stream_, "traffic");
    }
    const GroupRank next((communicator.rank().value() + 1) % num_ranks_);
    const GroupRank before((communicator.rank().value() + num_ranks_ - 1) % num_ranks_);
    const SendRequest send = {next, from.Rows(0, count)};
    const ReceiveRequest receive = {before, to.Rows(0, count)};
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<TransferHandle> handle,
                            communicator.Exchange({&send, 1}, {&receive, 1}, *stream_, "traffic"));
    return handle->Wait();
  }

  struct Time {
    double seconds = 0;  // of the thread or the device, of a call
    double wall = 0;
    double bytes = 0;
  };

  // How long a rank that has blocked is on its way: the first member is late for a call, and at the
  // next one waits for the others, which that call has woken. The median.
  absl::StatusOr<double> MeasureWake(int num_calls, Communicator& communicator) {
    constexpr absl::Duration kLate = absl::Microseconds(300);
    std::vector<double> seconds;
    for (int i = 0; i < num_calls; ++i) {
      const absl::Time begin = absl::Now();
      while (communicator.rank() == GroupRank(0) && absl::Now() - begin < kLate) {
      }
      const absl::Time late = absl::Now();
      HETERO_RETURN_IF_ERROR(Call("all_reduce", kElements[0], communicator));
      HETERO_RETURN_IF_ERROR(Call("all_reduce", kElements[0], communicator));
      seconds.push_back(absl::ToDoubleSeconds(absl::Now() - late));
    }
    std::ranges::nth_element(seconds, seconds.begin() + std::ssize(seconds) / 2);
    return seconds[seconds.size() / 2];
  }

  // The least of several: what else runs on the machine only adds.
  absl::StatusOr<Time> MeasureLeast(std::string_view kind, int64_t count, int num_calls,
                                    Communicator& communicator) {
    HETERO_ASSIGN_OR_RETURN(Time least, Measure(kind, count, num_calls, communicator));
    for (int i = 1; i < kRepeats; ++i) {
      HETERO_ASSIGN_OR_RETURN(const Time time, Measure(kind, count, num_calls, communicator));
      least.seconds = std::min(least.seconds, time.seconds);
      least.wall = std::min(least.wall, time.wall);
    }
    return least;
  }

  absl::StatusOr<Time> Measure(std::string_view kind, int64_t count, int num_calls,
                               Communicator& communicator) {
    for (int i = 0; i < 3; ++i) HETERO_RETURN_IF_ERROR(Call(kind, count, communicator));
    HETERO_RETURN_IF_ERROR(stream_->Synchronize());
    stream_->ledger().Reset();
    stream_->ledger().RecordCollectives(true);
    const absl::Time start = absl::Now();
    const absl::Duration thread_start = ThreadTime();
    for (int i = 0; i < num_calls; ++i) HETERO_RETURN_IF_ERROR(Call(kind, count, communicator));
    const absl::Duration thread = ThreadTime() - thread_start;
    HETERO_RETURN_IF_ERROR(stream_->Synchronize());
    Time time = {.wall = absl::ToDoubleSeconds(absl::Now() - start) / num_calls};
    time.seconds =
        stream_->device().IsCuda() ? time.wall : absl::ToDoubleSeconds(thread) / num_calls;
    for (const CollectiveCall& call : stream_->ledger().collectives()) {
      time.bytes += static_cast<double>(call.bytes) / num_calls;
    }
    return time;
  }

 private:
  TrafficRank(Device, int64_t num_ranks) : num_ranks_(num_ranks) {}

  const int64_t num_ranks_;
  MemoryLedger memory_;
  Arena workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  std::unique_ptr<Stream> stream_;
  Buffer from_, to_;
};

}  // namespace

absl::StatusOr<TrafficTimes> MeasureTraffic(const std::vector<Device>& devices, int num_calls) {
  const auto num_ranks = static_cast<int64_t>(devices.size());
  const bool on_gpu = devices.front().IsCuda();
  const std::span<const int64_t> sizes =
      on_gpu ? std::span<const int64_t>(kElementsOnGpu) : std::span<const int64_t>(kElements);
  TrafficTimes times;
  absl::Mutex mutex;
  const auto measure = [&](GlobalRank me, CommunicatorFactory& factory) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(const auto rank,
                            TrafficRank::Create(devices[me.value()], num_ranks, sizes.back()));
    Group all;
    for (int64_t r = 0; r < num_ranks; ++r) all.push_back(GlobalRank(r));
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> communicator,
                            factory.Create({"traffic", std::move(all)}));
    for (const std::string_view kind :
         {"all_reduce", "reduce_scatter", "all_gather", "all_to_all", "exchange"}) {
      for (const int64_t count : sizes) {
        HETERO_ASSIGN_OR_RETURN(
            const TrafficRank::Time time,
            rank->MeasureLeast(kind, count, num_calls / kRepeats, *communicator));
        absl::MutexLock lock(&mutex);
        times.kinds[std::string(kind)].push_back(
            {.calls = 1, .bytes = time.bytes, .seconds = time.seconds});
      }
    }
    if (on_gpu) return absl::OkStatus();
    HETERO_ASSIGN_OR_RETURN(const double wake, rank->MeasureWake(num_calls, *communicator));
    if (me == GlobalRank(0)) times.wake_seconds = wake;
    return absl::OkStatus();
  };
  HETERO_RETURN_IF_ERROR(RunRanks(
      num_ranks, measure,
      {.backend = on_gpu ? RankBackend::kNccl : RankBackend::kThreads, .devices = devices}));
  return times;
}

}  // namespace hetero
