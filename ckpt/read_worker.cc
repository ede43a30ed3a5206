#include "hetero/ckpt/read_worker.h"

#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {
namespace {

template <typename From, typename To>
void Cast(const void* from, void* to, int64_t count) {
  const auto* const source = static_cast<const From*>(from);
  auto* const target = static_cast<To*>(to);
  for (int64_t i = 0; i < count; ++i) target[i] = To(static_cast<float>(source[i]));
}

// Precondition: LoadOptions::cast has the pair.
void Cast(ElementType type, const void* from, DType to, void* target, int64_t count) {
  if (type == ElementType::kF32) {
    return to == DType::kBF16 ? Cast<float, BFloat16>(from, target, count)
                              : Cast<float, double>(from, target, count);
  }
  return to == DType::kF32 ? Cast<BFloat16, float>(from, target, count)
                           : Cast<BFloat16, double>(from, target, count);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReadWorker>> ReadWorker::Create(Device device, int64_t block_bytes,
                                                               MemoryLedger& ledger) {
  std::unique_ptr<ReadWorker> worker(new ReadWorker);
  HETERO_ASSIGN_OR_RETURN(worker->stream_, Stream::Create(device, worker->no_workspace_));
  for (Slot& slot : worker->slots_) {
    HETERO_ASSIGN_OR_RETURN(slot.memory,
                            PinnedBuffer::Allocate(device, block_bytes + kDirectAlignment, ledger));
    const auto address = reinterpret_cast<uintptr_t>(slot.memory.address());
    slot.bytes = reinterpret_cast<std::byte*>(RoundUp(address, uintptr_t{kDirectAlignment}));
    HETERO_ASSIGN_OR_RETURN(slot.free, Event::Create(device));
  }
  return worker;
}

absl::StatusOr<std::byte*> ReadWorker::NextSlot() {
  current_ = (current_ + 1) % slots_.size();
  HETERO_RETURN_IF_ERROR(slots_[current_].free.Synchronize());
  return slots_[current_].bytes;
}
absl::StatusOr<const std::byte*> ReadWorker::Converted(const std::byte* from, ElementType type,
                                                       DType to, int64_t count) {
  HETERO_RETURN_IF_ERROR(stream_->Synchronize());
  converted_.resize(count * SizeOf(to));
  Cast(type, from, to, converted_.data(), count);
  return converted_.data();
}

}  // namespace hetero
