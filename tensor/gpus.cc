#include "hetero/tensor/gpus.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/description.h"
#include "hetero/tensor/cuda/device_code.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero {

absl::StatusOr<int> CountGpus() { return cuda::CountDevices(); }

absl::Status ExpectGpuCode(int ordinal) { return cuda::ExpectDeviceCode(ordinal); }

std::string DescribeGpus() {
  const absl::StatusOr<int> count = CountGpus();
  if (!count.ok()) return absl::StrCat("no GPU: ", count.status().message());
  std::string text;
  for (int ordinal = 0; ordinal < *count; ++ordinal) {
    absl::StrAppend(&text, ordinal > 0 ? "; " : "", "GPU ", ordinal, ": ");
    if (const auto gpu = cuda::DescribeDevice(ordinal); gpu.ok()) {
      absl::StrAppendFormat(&text, "%s, %.1f GiB, compute capability %d.%d", gpu->name,
                            static_cast<double>(gpu->memory_bytes) / (1 << 30), gpu->major,
                            gpu->minor);
    } else {
      absl::StrAppend(&text, gpu.status().message());
    }
  }
  return text.empty() ? "no GPU" : text;
}

absl::StatusOr<std::string> GpuUuid(int ordinal) {
  HETERO_ASSIGN_OR_RETURN(const cuda::DeviceDescription gpu, cuda::DescribeDevice(ordinal));
  return gpu.uuid;
}

absl::StatusOr<std::string> ComputeCapability(int ordinal) {
  HETERO_ASSIGN_OR_RETURN(const cuda::DeviceDescription gpu, cuda::DescribeDevice(ordinal));
  return absl::StrCat(gpu.major, ".", gpu.minor);
}

std::string DescribeCuda() { return cuda::DescribeLibrary(); }

}  // namespace hetero
