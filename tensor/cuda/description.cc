#include "hetero/tensor/cuda/description.h"

#include <cuda_runtime_api.h>

#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "hetero/tensor/cuda/status.h"

namespace hetero::cuda {
namespace {

// Versions are 1000 * major + 10 * minor.
std::string Version(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

}  // namespace

absl::StatusOr<DeviceDescription> DescribeDevice(int ordinal) {
  cudaDeviceProp properties;
  HETERO_RETURN_IF_CUDA_ERROR(cudaGetDeviceProperties(&properties, ordinal));
  return DeviceDescription{
      .name = properties.name,
      .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
      .major = properties.major,
      .minor = properties.minor,
      .uuid = absl::StrCat("GPU-", absl::BytesToHexString(std::string_view(
                                       properties.uuid.bytes, sizeof(properties.uuid.bytes))))};
}

std::string DescribeLibrary() {
  int driver = 0;
  std::string text = absl::StrCat("CUDA ", Version(CUDART_VERSION));
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0) {
    absl::StrAppend(&text, ", driver for ", Version(driver));
  }
  return text;
}

}  // namespace hetero::cuda
