#include "hetero/tensor/side_stream.h"

#include <utility>

#include "hetero/base/status.h"
#include "hetero/tensor/cuda/stream_priority.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<SideStream>> SideStream::Create(Stream& stream) {
  std::unique_ptr<SideStream> side(new SideStream(stream));
  const Device& device = stream.device();
  if (device.kind != DeviceKind::kCuda) return side;
  HETERO_ASSIGN_OR_RETURN(side->no_workspace_,
                          Arena::Create(device, MemoryLabel::kWorkspace, 0, side->no_memory_));
  HETERO_ASSIGN_OR_RETURN(side->beside_, Stream::Create(device, *side->no_workspace_));
  // A product fills the GPU for as long as its communication should take.
  HETERO_RETURN_IF_ERROR(cuda::PutFirst(device.ordinal, side->beside_->handle()))
      .With("priority of the stream of communication");
  side->beside_->ledger().RecordCollectives(true);
  side->overlaps_ = true;
  return side;
}

absl::StatusOr<SideStream::Mark> SideStream::EndOf(Stream& stream) {
  Mark mark;
  if (spare_events_.empty()) {
    HETERO_ASSIGN_OR_RETURN(Event event, Event::Create(stream.device()));
    mark.event_ = std::make_unique<Event>(std::move(event));
  } else {
    mark.event_ = std::move(spare_events_.back());
    spare_events_.pop_back();
  }
  HETERO_RETURN_IF_ERROR(mark.event_->Record(stream));
  return mark;
}

absl::Status SideStream::MakeWait(Stream& stream, Mark mark) {
  if (mark.event_ == nullptr) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(mark.event_->MakeWait(stream));
  spare_events_.push_back(std::move(mark.event_));
  return absl::OkStatus();
}

absl::StatusOr<SideStream::Mark> SideStream::Here() { return overlaps_ ? EndOf(stream_) : Mark(); }

absl::StatusOr<SideStream::Mark> SideStream::Run(Work work) {
  HETERO_ASSIGN_OR_RETURN(Mark now, Here());
  return RunAfter(std::move(now), work);
}

absl::StatusOr<SideStream::Mark> SideStream::RunAfter(Mark point, Work work) {
  if (!overlaps_) {
    HETERO_RETURN_IF_ERROR(work(stream_));
    return Mark();
  }
  HETERO_RETURN_IF_ERROR(MakeWait(*beside_, std::move(point)));
  const absl::Status status = work(*beside_);
  MoveCalls();
  HETERO_RETURN_IF_ERROR(status);
  return EndOf(*beside_);
}

absl::Status SideStream::Join(Mark mark, std::string_view wait) {
  if (mark.event_ == nullptr) return absl::OkStatus();
  const OperationScope scope(stream_, {wait});
  return MakeWait(stream_, std::move(mark));
}

void SideStream::MoveCalls() {
  CallLedger& ledger = stream_.ledger();
  for (const CollectiveCall& call : beside_->ledger().collectives()) {
    ledger.AddCollective(call.name, call.kind, call.bytes);
  }
  for (const auto& [name, totals] : beside_->ledger().operations()) {
    ledger.AddOperation(name, totals.flops, totals.bytes, totals.time);
    for (int64_t i = 1; i < totals.calls; ++i) ledger.AddOperation(name, 0, 0, {});
  }
  beside_->ledger().Reset();
}

}  // namespace hetero
