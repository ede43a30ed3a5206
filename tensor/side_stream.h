#ifndef HETERO_TENSOR_SIDE_STREAM_H_
#define HETERO_TENSOR_SIDE_STREAM_H_

// A second queue beside a rank's stream: communication runs there while the stream does work that
// does not need it. On a GPU the two are ordered by events, and the host never waits. Elsewhere
// work on the side is work of the stream itself, at once and in program order: results are equal to
// the bit, and the stream's ledger has one list of calls, the same on all devices.
//
//   HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
//   HETERO_ASSIGN_OR_RETURN(SideStream::Mark gathered, side->Run([&](Stream& beside) {
//     return communicator.AllGather(own, all, beside, name);
//   }));
//   ... work on `stream` that does not read `all` ...
//   HETERO_RETURN_IF_ERROR(side->Join(std::move(gathered), "wait for weights"));
//   ... work on `stream` that does ...
//
// Memory: what the work reads and writes stays as it is until the mark is joined. A scope of an
// arena that it lies in ends behind the join, so that what the stream does next in that memory runs
// after it.

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/operation_timer.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Owned by the stream as `stream.State<SideStream>()`, or, where a kind of traffic wants a queue of
// its own, by whoever creates one. Not thread-safe: the stream's thread.
// Errors of all: those of Event and of the work. After one the run is over, since the side may
// still use memory that the caller gives back.
class SideStream {
 public:
  // A point that one of the two queues passes. Move-only; joined or waited for once, or dropped.
  class Mark {
   public:
    Mark() = default;  // a point that has passed

   private:
    friend class SideStream;
    std::unique_ptr<Event> event_;
  };

  using Work = absl::FunctionRef<absl::Status(Stream&)>;

  // `stream` outlives the result.
  static absl::StatusOr<std::unique_ptr<SideStream>> Create(Stream& stream);

  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  // The end of what the stream holds now.
  absl::StatusOr<Mark> Here();

  // Queues `work` behind all that the side and the stream hold now; the mark is its end. Several
  // may be in flight. The work takes no memory of its stream's workspace, which has none.
  absl::StatusOr<Mark> Run(Work work);

  // The same behind `point` of the stream instead: beside what came after it. What the work writes
  // was nobody else's at that point.
  absl::StatusOr<Mark> RunAfter(Mark point, Work work);

  // What is queued on the stream from now on runs after `mark`, and after what the side held before
  // it. `wait`, a string literal, names in the stream's account the time that a GPU waits: what of
  // the work is not hidden.
  absl::Status Join(Mark mark, std::string_view wait);

  // As Stream::TimeOperations for what runs on a queue of the side's own.
  void TimeOperations(OperationTimer* timer) {
    if (beside_ != nullptr) beside_->TimeOperations(timer);
  }

  // Whether the side has a queue of its own. On a GPU it can be had without one, to see what
  // overlap gives: work then runs on the stream. Precondition: all marks are joined.
  bool overlaps() const { return overlaps_; }
  void set_overlaps(bool overlaps) { overlaps_ = overlaps && beside_ != nullptr; }

 private:
  explicit SideStream(Stream& stream) : stream_(stream) {}

  absl::StatusOr<Mark> EndOf(Stream& stream);
  // The event of a mark that was waited for is free again.
  absl::Status MakeWait(Stream& stream, Mark mark);
  // Moves what the side has called to the end of the stream's list.
  void MoveCalls();

  Stream& stream_;
  MemoryLedger no_memory_;
  std::optional<Arena> no_workspace_;
  std::unique_ptr<Stream> beside_;  // null off the GPU
  bool overlaps_ = false;
  std::vector<std::unique_ptr<Event>> spare_events_;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_SIDE_STREAM_H_
