#include "hetero/tensor/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
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
    if (bytes_[i] != 0) {
      parts.push_back(absl::StrCat(Name(static_cast<MemoryLabel>(i)), " ", mebibytes(bytes_[i])));
    }
  }
  parts.push_back(absl::StrCat("total ", mebibytes(total_bytes())));
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
  if (bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("buffer of ", bytes, " bytes for ", Name(label), "; at least 0"));
  }
  if (bytes > kMaxBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(bytes, " bytes for ", Name(label), " are more than any memory has"));
  }
  Buffer buffer;
  buffer.device_ = device;
  buffer.label_ = label;
  buffer.size_bytes_ = Buffer::AlignedBytes(bytes);
  const int64_t allocated = std::max(buffer.size_bytes_, kAlignment);
  switch (device.kind) {
    case DeviceKind::kShapeOnly:
      buffer.address_ = reinterpret_cast<void*>(kShapeOnlyAddress);
      break;
    case DeviceKind::kCpu:
      buffer.address_ = AllocateHost(allocated);
      break;
    case DeviceKind::kCuda: {
      HETERO_ASSIGN_OR_RETURN(buffer.address_, cuda::Allocate(device.ordinal, allocated));
      break;
    }
  }
  if (buffer.address_ == nullptr) {
    return OutOfMemoryError(absl::StrCat(device.ToString(), " has no ", buffer.size_bytes_,
                                         " bytes left for ", Name(label)));
  }
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
  if (bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("staging memory of ", bytes, " bytes; at least 0"));
  }
  if (bytes > kMaxBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(bytes, " bytes for host staging are more than any memory has"));
  }
  PinnedBuffer buffer;
  buffer.device_ = device;
  buffer.size_bytes_ = Buffer::AlignedBytes(bytes);
  const int64_t allocated = std::max(buffer.size_bytes_, Buffer::kAlignment);
  switch (device.kind) {
    case DeviceKind::kShapeOnly:
      buffer.address_ = reinterpret_cast<void*>(kShapeOnlyAddress);
      break;
    case DeviceKind::kCpu:
      buffer.address_ = AllocateHost(allocated);
      break;
    case DeviceKind::kCuda: {
      HETERO_ASSIGN_OR_RETURN(buffer.address_, cuda::AllocatePinned(device.ordinal, allocated));
      break;
    }
  }
  if (buffer.address_ == nullptr) {
    return OutOfMemoryError(
        absl::StrCat("no ", allocated, " bytes of host memory left for staging"));
  }
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
