#include "hetero/tensor/device.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace hetero {

std::string Device::ToString() const {
  switch (kind) {
    case DeviceKind::kCpu:
      return "cpu";
    case DeviceKind::kShapeOnly:
      return "shape-only";
    case DeviceKind::kCuda:
      return absl::StrCat("cuda:", ordinal);
  }
  return "?";
}

}  // namespace hetero
