#include "hetero/tensor/arena.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 56;

}  // namespace

absl::StatusOr<Arena> Arena::Create(Device device, MemoryLabel label, int64_t capacity_bytes,
                                    MemoryLedger& ledger) {
  Arena arena(label);
  HETERO_ASSIGN_OR_RETURN(arena.buffer_, Buffer::Allocate(device, label, capacity_bytes, ledger));
  arena.base_ = static_cast<char*>(arena.buffer_.address());
  arena.capacity_bytes_ = arena.buffer_.size_bytes();
  return arena;
}

Arena Arena::Counting(MemoryLabel label) {
  Arena arena(label);
  arena.base_ = reinterpret_cast<char*>(kShapeOnlyAddress);
  arena.capacity_bytes_ = std::numeric_limits<int64_t>::max() / 2;
  return arena;
}

absl::StatusOr<TensorView> Arena::Allocate(DType dtype, std::span<const int64_t> dims) {
  // Before the view multiplies them.
  int64_t elements = 1;
  for (const int64_t dim : dims) {
    if (dim > kMaxElements / std::max<int64_t>(elements, 1)) {
      return absl::ResourceExhaustedError(absl::StrCat("a tensor of [", absl::StrJoin(dims, ", "),
                                                       "] elements for ", Name(label_),
                                                       " is larger than any memory"));
    }
    elements *= dim;
  }
  TensorView view(base_ + used_bytes_, dtype, dims);
  const int64_t bytes = Buffer::AlignedBytes(view.num_bytes());
  if (used_bytes_ + bytes > capacity_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(Name(label_), " arena of ", capacity_bytes_,
                                                     " bytes holds ", used_bytes_, "; no room for ",
                                                     view.ToString(), " (", bytes, " bytes)"));
  }
  used_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return view;
}

void Arena::Release(int64_t mark) {
  CHECK_LE(mark, used_bytes_);
  used_bytes_ = mark;
}

}  // namespace hetero
