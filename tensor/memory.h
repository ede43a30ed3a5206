#ifndef HETERO_TENSOR_MEMORY_H_
#define HETERO_TENSOR_MEMORY_H_

// Labelled memory: every allocation of a rank has an owner, so a report can say where the bytes
// went, and the dry run's prediction can be compared with the run, label by label.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/view.h"

namespace hetero {

enum class MemoryLabel : uint8_t {
  kWeights,
  kMainGradients,
  kOptimizer,
  kActivations,
  kWorkspace,
  kBridge,
  kData,
  // Of the host, beside the device's own memory: what copies between the two and files go through.
  kHostStaging,
};
inline constexpr int kNumMemoryLabels = 8;

std::string_view Name(MemoryLabel label);

// Bytes per label of one rank. Not thread-safe: a rank's thread owns it.
class MemoryLedger {
 public:
  void Add(MemoryLabel label, int64_t bytes) { bytes_[static_cast<int>(label)] += bytes; }
  int64_t bytes(MemoryLabel label) const { return bytes_[static_cast<int>(label)]; }
  int64_t total_bytes() const;
  // All but kHostStaging.
  int64_t device_bytes() const { return total_bytes() - bytes(MemoryLabel::kHostStaging); }
  // What lies in memory of the host, of a rank on such a device. Precondition: not shape-only.
  int64_t host_bytes(DeviceKind device) const;

  bool operator==(const MemoryLedger&) const = default;

  // "weights 1.2 MiB, activations 3.4 MiB, ..., total 9.9 MiB", labels without bytes left out.
  std::string ToString() const;

 private:
  std::array<int64_t, kNumMemoryLabels> bytes_ = {};
};

// One allocation of device memory, zero-filled, aligned to kAlignment, counted in the ledger for
// its lifetime. Move-only.
class Buffer {
 public:
  static constexpr int64_t kAlignment = 256;  // what cuBLASLt and 512-bit loads both like

  // Bytes that a buffer, or a piece of one behind which another begins, takes for `bytes`.
  static constexpr int64_t AlignedBytes(int64_t bytes) { return RoundUp(bytes, kAlignment); }

  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  // `ledger` outlives the buffer. It takes AlignedBytes(bytes).
  // Errors: INVALID_ARGUMENT negative size; RESOURCE_EXHAUSTED naming label and bytes; on a GPU
  // FAILED_PRECONDITION there is none such, UNIMPLEMENTED built without CUDA.
  static absl::StatusOr<Buffer> Allocate(Device device, MemoryLabel label, int64_t bytes,
                                         MemoryLedger& ledger);

  void* address() const { return address_; }
  int64_t size_bytes() const { return size_bytes_; }
  const Device& device() const { return device_; }

  // A view of the first elements. Precondition: they fit.
  TensorView View(DType dtype, std::span<const int64_t> dims) const;
  TensorView View(DType dtype, std::initializer_list<int64_t> dims) const {
    return View(dtype, std::span<const int64_t>(dims.begin(), dims.size()));
  }

 private:
  void Free();

  Device device_;
  MemoryLabel label_ = MemoryLabel::kWorkspace;
  void* address_ = nullptr;
  int64_t size_bytes_ = 0;
  MemoryLedger* ledger_ = nullptr;
};

// Host memory, zero-filled, that a device copies from and to without a detour: staging for
// tensor/copy.h. Ordinary memory unless the device is a GPU; none on the shape-only device. Counted
// in the ledger, as kHostStaging, for its lifetime. Move-only.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  ~PinnedBuffer();

  // `ledger` outlives the buffer. It takes Buffer::AlignedBytes(bytes).
  // Errors: as Buffer::Allocate.
  static absl::StatusOr<PinnedBuffer> Allocate(Device device, int64_t bytes, MemoryLedger& ledger);

  void* address() const { return address_; }
  int64_t size_bytes() const { return size_bytes_; }

  // A view of the first elements. Precondition: they fit.
  TensorView View(DType dtype, std::span<const int64_t> dims) const;
  TensorView View(DType dtype, std::initializer_list<int64_t> dims) const {
    return View(dtype, std::span<const int64_t>(dims.begin(), dims.size()));
  }

 private:
  void Free();

  Device device_;
  void* address_ = nullptr;
  int64_t size_bytes_ = 0;
  MemoryLedger* ledger_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_MEMORY_H_
