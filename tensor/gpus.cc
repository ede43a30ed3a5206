#include "hetero/tensor/gpus.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/tensor/cuda/description.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero {

absl::StatusOr<int> CountGpus() { return cuda::CountDevices(); }

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

std::string DescribeCuda() { return cuda::DescribeLibrary(); }

}  // namespace hetero
