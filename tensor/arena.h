#ifndef HETERO_TENSOR_ARENA_H_
#define HETERO_TENSOR_ARENA_H_

// A stack of tensors in one buffer: allocation moves a cursor, a mark and a release free everything
// above it. Nothing is allocated from the device after construction. The peak of an arena on the
// shape-only device, which has no end, is the capacity the real one needs.

#include <cstdint>
#include <initializer_list>
#include <span>

#include "absl/status/statusor.h"
#include "hetero/tensor/memory.h"

namespace hetero {

class Arena {
 public:
  // Errors: those of Buffer::Allocate.
  static absl::StatusOr<Arena> Create(Device device, MemoryLabel label, int64_t capacity_bytes,
                                      MemoryLedger& ledger);

  // On the shape-only device, without end; counts nothing in a ledger.
  static Arena Counting(MemoryLabel label);

  // Uninitialised memory, aligned to Buffer::kAlignment.
  // Errors: RESOURCE_EXHAUSTED naming label, capacity and need, or dims of more than 2^56 elements.
  // Precondition: no dim is negative.
  absl::StatusOr<TensorView> Allocate(DType dtype, std::span<const int64_t> dims);
  absl::StatusOr<TensorView> Allocate(DType dtype, std::initializer_list<int64_t> dims) {
    return Allocate(dtype, std::span<const int64_t>(dims.begin(), dims.size()));
  }

  int64_t used_bytes() const { return used_bytes_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  int64_t capacity_bytes() const { return capacity_bytes_; }
  MemoryLabel label() const { return label_; }

  // Frees everything allocated since used_bytes() was `mark`.
  void Release(int64_t mark);

 private:
  explicit Arena(MemoryLabel label) : label_(label) {}

  MemoryLabel label_;
  Buffer buffer_;
  char* base_ = nullptr;
  int64_t capacity_bytes_ = 0;
  int64_t used_bytes_ = 0;
  int64_t peak_bytes_ = 0;
};

// Releases what was allocated from `arena` during its lifetime.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.used_bytes()) {}
  ~ArenaScope() { arena_.Release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  int64_t mark_;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_ARENA_H_
