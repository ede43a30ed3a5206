#include "hetero/ckpt/snapshot_ring.h"

#include <algorithm>
#include <utility>

#include "hetero/base/exceptions.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {
namespace {

// A GPU's driver lets nobody else work while it registers a piece: 64 MiB take about 30 ms.
constexpr int64_t kPieceSlots = 16;

int64_t SlotsFor(int64_t bytes) {
  return std::max<int64_t>(1, CeilDiv(bytes, SnapshotRing::kSlotBytes));
}

// Slots begin at multiples of kDirectAlignment, the piece wherever it is.
int64_t PieceBytes(int64_t slots) {
  return Buffer::AlignedBytes(slots * SnapshotRing::kSlotBytes + kDirectAlignment);
}

// Of pieces for so many slots.
int64_t PiecesBytes(int64_t slots) {
  const int64_t rest = slots % kPieceSlots;
  return slots / kPieceSlots * PieceBytes(kPieceSlots) + (rest > 0 ? PieceBytes(rest) : 0);
}

}  // namespace

int64_t SnapshotRing::MemoryBytes(int64_t bytes) { return PiecesBytes(SlotsFor(bytes)); }

SnapshotRing::~SnapshotRing() {
  Stop();
  Count(0);
}

void SnapshotRing::Count(int64_t memory_bytes) {
  ledger_.Add(MemoryLabel::kHostStaging, memory_bytes - counted_bytes_);
  counted_bytes_ = memory_bytes;
}

void SnapshotRing::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status SnapshotRing::Prepare(Device device, int64_t bytes) {
  const int64_t wanted = SlotsFor(bytes);
  {
    absl::MutexLock lock(&mutex_);
    if (wanted <= num_slots() && status_.ok()) return absl::OkStatus();
  }
  if (thread_.joinable()) thread_.join();
  int64_t first = 0;
  {
    absl::MutexLock lock(&mutex_);
    first = ready_;
    growing_ = true;
    status_ = absl::OkStatus();
  }
  slots_.resize(std::max(wanted, num_slots()));
  Count(pieces_ledger_.total_bytes() + PiecesBytes(num_slots() - first));
  absl::StatusOr<std::thread> thread =
      StartThread("the memory of checkpoints", [this, device, first] {
        const absl::Status grown = CatchExceptions([&] { return Grow(device, first); });
        absl::MutexLock lock(&mutex_);
        growing_ = false;
        status_ = grown;
      });
  if (!thread.ok()) {
    absl::MutexLock lock(&mutex_);
    growing_ = false;
    status_ = thread.status();
    return thread.status();
  }
  thread_ = *std::move(thread);
  return absl::OkStatus();
}

absl::Status SnapshotRing::Grow(Device device, int64_t first) {
  while (first < num_slots()) {
    const int64_t count = std::min(kPieceSlots, num_slots() - first);
    HETERO_ASSIGN_OR_RETURN(PinnedBuffer piece,
                            PinnedBuffer::Allocate(device, PieceBytes(count), pieces_ledger_));
    const auto address = reinterpret_cast<uintptr_t>(piece.address());
    auto* const base = reinterpret_cast<std::byte*>(RoundUp(address, uintptr_t{kDirectAlignment}));
    for (int64_t i = 0; i < count; ++i) slots_[first + i] = base + i * kSlotBytes;
    pieces_.push_back(std::move(piece));
    first += count;
    absl::MutexLock lock(&mutex_);
    ready_ = first;
    if (stop_) break;
  }
  return absl::OkStatus();
}

int64_t SnapshotRing::num_ready() const {
  absl::MutexLock lock(&mutex_);
  return ready_;
}

absl::StatusOr<int64_t> SnapshotRing::AwaitReady(int64_t known) {
  const auto changed = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return ready_ > known || !growing_;
  };
  absl::MutexLock lock(&mutex_, absl::Condition(&changed));
  if (ready_ > known) return ready_;
  HETERO_RETURN_IF_ERROR(status_);
  return absl::AbortedError("the memory of checkpoints is given back");
}

}  // namespace hetero
