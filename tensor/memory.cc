#include "hetero/tensor/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/out_of_memory.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero {
namespace {

// Of one buffer: thousands of them still have a sum.
constexpr int64_t kMaxBytes = int64_t{1} << 50;

// Zero-filled; null if there is none left.
void* AllocateHost(int64_t bytes) {
  void* address = std::aligned_alloc(Buffer::kAlignment, bytes);
  if (address != nullptr) std::memset(address, 0, bytes);
  return address;
}

// Zero-filled memory for `owner`, of a GPU by `allocate_cuda`. Errors: those of Buffer::Allocate.
absl::StatusOr<void*> AllocateOn(Device device, std::string_view owner, int64_t bytes,
                                 absl::StatusOr<void*> (*allocate_cuda)(int ordinal,
                                                                        int64_t bytes)) {
  if (bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat(bytes, " bytes for ", owner, "; at least 0"));
  }
  if (bytes > kMaxBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(bytes, " bytes for ", owner, " are more than any memory has"));
  }
  if (device.kind == DeviceKind::kShapeOnly) return reinterpret_cast<void*>(kShapeOnlyAddress);
  const int64_t allocated = std::max(Buffer::AlignedBytes(bytes), Buffer::kAlignment);
  absl::StatusOr<void*> address = device.kind == DeviceKind::kCuda
                                      ? allocate_cuda(device.ordinal, allocated)
                                      : AllocateHost(allocated);
  if (address.ok() && *address == nullptr) {
    return OutOfMemoryError(
        absl::StrCat(device.ToString(), " has no ", allocated, " bytes left for ", owner));
  }
  return address;
}

}  // namespace

std::string_view Name(MemoryLabel label) {
  constexpr std::string_view kNames[kNumMemoryLabels] = {
      "weights",   "main gradients", "optimizer", "activations",
      "workspace", "bridge",         "data",      "host staging"};
  return kNames[static_cast<int>(label)];
}

int64_t MemoryLedger::total_bytes() const {
  return std::accumulate(bytes_.begin(), bytes_.end(), int64_t{0});
}

int64_t MemoryLedger::host_bytes(DeviceKind device) const {
  CHECK(device != DeviceKind::kShapeOnly);
  return device == DeviceKind::kCpu ? total_bytes() : bytes(MemoryLabel::kHostStaging);
}

std::string MemoryLedger::ToString() const {
  const auto mebibytes = [](int64_t bytes) {
    return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  };
  std::vector<std::string> parts;
  for (int i = 0; i < kNumMemoryLabels; ++i) {
    const auto label = static_cast<MemoryLabel>(i);
    if (bytes_[i] == 0 || label == MemoryLabel::kHostStaging) continue;
    parts.push_back(absl::StrCat(Name(label), " ", mebibytes(bytes_[i])));
  }
  parts.push_back(absl::StrCat("total ", mebibytes(device_bytes())));
  if (const int64_t staging = bytes(MemoryLabel::kHostStaging); staging != 0) {
    parts.push_back(
        absl::StrCat(Name(MemoryLabel::kHostStaging), " ", mebibytes(staging), " beside it"));
  }
  return absl::StrJoin(parts, ", ");
}

Buffer::Buffer(Buffer&& other) noexcept { *this = std::move(other); }

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    Free();
    device_ = other.device_;
    label_ = other.label_;
    address_ = std::exchange(other.address_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
    ledger_ = std::exchange(other.ledger_, nullptr);
  }
  return *this;
}

Buffer::~Buffer() { Free(); }

void Buffer::Free() {
  if (address_ == nullptr) return;
  if (device_.kind == DeviceKind::kCpu) std::free(address_);
  if (device_.kind == DeviceKind::kCuda) cuda::Free(device_.ordinal, address_);
  ledger_->Add(label_, -size_bytes_);
  address_ = nullptr;
}

absl::StatusOr<Buffer> Buffer::Allocate(Device device, MemoryLabel label, int64_t bytes,
                                        MemoryLedger& ledger) {
  Buffer buffer;
  buffer.device_ = device;
  buffer.label_ = label;
  HETERO_ASSIGN_OR_RETURN(buffer.address_, AllocateOn(device, Name(label), bytes, &cuda::Allocate));
  buffer.size_bytes_ = AlignedBytes(bytes);
  buffer.ledger_ = &ledger;
  ledger.Add(label, buffer.size_bytes_);
  return buffer;
}

TensorView Buffer::View(DType dtype, std::span<const int64_t> dims) const {
  TensorView view(address_, dtype, dims);
  CHECK_LE(view.num_bytes(), size_bytes_);
  return view;
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept { *this = std::move(other); }

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  if (this != &other) {
    Free();
    device_ = other.device_;
    address_ = std::exchange(other.address_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
    ledger_ = std::exchange(other.ledger_, nullptr);
  }
  return *this;
}

PinnedBuffer::~PinnedBuffer() { Free(); }

void PinnedBuffer::Free() {
  if (address_ == nullptr) return;
  if (device_.kind == DeviceKind::kCpu) std::free(address_);
  if (device_.kind == DeviceKind::kCuda) cuda::FreePinned(address_);
  ledger_->Add(MemoryLabel::kHostStaging, -size_bytes_);
  address_ = nullptr;
}

absl::StatusOr<PinnedBuffer> PinnedBuffer::Allocate(Device device, int64_t bytes,
                                                    MemoryLedger& ledger) {
  PinnedBuffer buffer;
  buffer.device_ = device;
  HETERO_ASSIGN_OR_RETURN(buffer.address_, AllocateOn(device, Name(MemoryLabel::kHostStaging),
                                                      bytes, &cuda::AllocatePinned));
  buffer.size_bytes_ = Buffer::AlignedBytes(bytes);
  buffer.ledger_ = &ledger;
  ledger.Add(MemoryLabel::kHostStaging, buffer.size_bytes_);
  return buffer;
}

TensorView PinnedBuffer::View(DType dtype, std::span<const int64_t> dims) const {
  TensorView view(address_, dtype, dims);
  CHECK_LE(view.num_bytes(), size_bytes_);
  return view;
}

}  // namespace hetero
