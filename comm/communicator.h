#ifndef HETERO_COMM_COMMUNICATOR_H_
#define HETERO_COMM_COMMUNICATOR_H_

// The seam between what a step communicates and how. A communicator joins a fixed list of ranks on
// one channel; its members call the same collectives in the same order. Backends: loopback (one
// rank runs the plan of many), threads (ranks are threads of this process), NCCL.
//
// Contract of every call
// * The thread that owns the rank calls; nobody else touches the communicator but Abort.
// * Tensors are contiguous, on the stream's device, and unchanged by the caller until the call
//   (for Exchange: Wait) returns; on accelerators completion is in stream order.
// * `name` is the plan's name of the call ("llm.dp.grad.bucket3"); it shows in traces, time-outs
//   and errors. On a shape-only stream the call is recorded and nothing moves.
// * Sums run in rank order, so results do not depend on timing.
// * Errors: INVALID_ARGUMENT when shapes, types or counts do not fit; ABORTED with the first
//   failure of the run once any member aborts; DEADLINE_EXCEEDED naming who waits and who lags.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/grid/rank.h"
#include "hetero/tensor/reduce_op.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// One message to or from `peer`. Zero-element messages are not sent: both ends know the size.
struct SendRequest {
  GroupRank peer;
  ConstTensorView tensor;
};
struct ReceiveRequest {
  GroupRank peer;
  TensorView tensor;
};

// Completion of an Exchange; a handle of this very class stands for one that needed no message.
// Wait is called once, by the owner of the communicator, which outlives the handle; destroying an
// unfinished handle is a bug of the caller unless the run has failed.
class TransferHandle {
 public:
  virtual ~TransferHandle() = default;
  virtual absl::Status Wait() { return absl::OkStatus(); }
};

// Tensors are contiguous. Input and output are memory apart unless a call says otherwise.
// Errors of all calls: INVALID_ARGUMENT what is wrong with the arguments, ABORTED the run's first
// failure.
class Communicator {
 public:
  virtual ~Communicator() = default;

  // The members, ascending; GroupRank g is members()[g].
  virtual std::span<const GlobalRank> members() const = 0;
  virtual GroupRank rank() const = 0;
  int64_t size() const { return static_cast<int64_t>(members().size()); }

  // output[i] = op over members of input[i]. `output` may be `input`. f64, f32, i32, i64, and
  // on a GPU bf16.
  virtual absl::Status AllReduce(ConstTensorView input, TensorView output, ReduceOp op,
                                 Stream& stream, std::string_view name) = 0;

  // Member g receives chunk g of the sum: input has size() * output.num_elements() elements.
  // `output` may be this member's chunk of `input`.
  virtual absl::Status ReduceScatter(ConstTensorView input, TensorView output, Stream& stream,
                                     std::string_view name) = 0;

  // Chunk g of output is member g's input: output has size() * input.num_elements() elements.
  // `input` may be this member's chunk of `output`.
  virtual absl::Status AllGather(ConstTensorView input, TensorView output, Stream& stream,
                                 std::string_view name) = 0;

  // Rows (dim 0) go to members in order: this member sends send_rows[g] rows to member g and
  // receives receive_rows[g] from it, consecutive in both tensors. Both count vectors are known to
  // both ends.
  virtual absl::Status AllToAllV(ConstTensorView input, std::span<const int64_t> send_rows,
                                 TensorView output, std::span<const int64_t> receive_rows,
                                 Stream& stream, std::string_view name) = 0;

  virtual absl::Status Broadcast(TensorView tensor, GroupRank root, Stream& stream,
                                 std::string_view name) = 0;

  // Posts all messages before any completes; several exchanges may be in flight. Messages between
  // two members match in posting order. What is received is memory apart from other messages'.
  virtual absl::StatusOr<std::unique_ptr<TransferHandle>> Exchange(
      std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
      std::string_view name) = 0;

  // Wakes every member with ABORTED, now and in later calls. Any thread may call; the first call's
  // `cause` wins.
  virtual void Abort(const absl::Status& cause) = 0;

  // OK, or the cause of the abort.
  virtual absl::Status HealthCheck() const = 0;

  // "threads[0,2] llm.dp", for messages.
  virtual std::string ToString() const = 0;
};

// Overlapping uses of equal rank lists need communicators of their own.
// A key names one: creation order follows the plan, members only, none of size 1.
struct CommunicatorKey {
  std::string channel;  // "model", "gradient", "pipeline.forward", "bridge.forward.0", "control"
  std::vector<GlobalRank> members;  // ascending

  auto operator<=>(const CommunicatorKey&) const = default;
};

struct CommunicatorOptions {
  // The members that this one has messages with in calls of Exchange, both ends alike; unset: all.
  // A backend connects them when the communicator is made, as later one of them may be elsewhere.
  std::optional<std::vector<GlobalRank>> exchange_peers = {};
  // All its tensors are in host memory: a backend for GPUs makes nothing there.
  bool on_host = false;
};

// Of a communicator that has no messages, only collectives.
inline CommunicatorOptions CollectivesOnly() {
  return {.exchange_peers = std::vector<GlobalRank>()};
}

// What a rank has of the run's backend: makes communicators, brings everybody down.
class CommunicatorFactory {
 public:
  virtual ~CommunicatorFactory() = default;

  // Called by every member of the key and by nobody else. Precondition: this rank is a member and
  // the key has at least two.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> Create(
      const CommunicatorKey& key, const CommunicatorOptions& options = {}) = 0;

  // Aborts every communicator of the run with `cause`, which names rank and origin.
  virtual void AbortAll(const absl::Status& cause) = 0;
};

}  // namespace hetero

#endif  // HETERO_COMM_COMMUNICATOR_H_
