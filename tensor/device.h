#ifndef HETERO_TENSOR_DEVICE_H_
#define HETERO_TENSOR_DEVICE_H_

#include <cstdint>
#include <string>

namespace hetero {

// kShapeOnly runs every check and every allocation, records cost, and touches no data: the dry run
// executes the real code on it.
enum class DeviceKind : uint8_t { kCpu, kShapeOnly, kCuda };

// What every view on the shape-only device points at: far from any mapping of a 64-bit process, so
// that a stray access faults.
inline constexpr uintptr_t kShapeOnlyAddress = uintptr_t{1} << 62;

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int ordinal = 0;  // which GPU; 0 elsewhere
  // Of kShapeOnly: the kind whose run it predicts. Scratch memory differs between kinds.
  DeviceKind predicts = DeviceKind::kCpu;

  // Whether operations take, or would take, their CUDA side.
  bool IsCuda() const {
    return (kind == DeviceKind::kShapeOnly ? predicts : kind) == DeviceKind::kCuda;
  }

  bool operator==(const Device&) const = default;
  std::string ToString() const;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_DEVICE_H_
