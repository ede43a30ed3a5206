#include "absl/status/status.h"
#include "hetero/tensor/cuda/description.h"

namespace hetero::cuda {

absl::StatusOr<DeviceDescription> DescribeDevice(int) {
  return absl::UnimplementedError("this program was built without CUDA");
}

std::string DescribeLibrary() { return ""; }

}  // namespace hetero::cuda
