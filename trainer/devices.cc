#include "hetero/trainer/devices.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/comm/nccl/nccl_version.h"
#include "hetero/tensor/gpus.h"

namespace hetero {
namespace {

absl::StatusOr<int> CountForDevice() {
  const absl::StatusOr<int> num_gpus = CountGpus();
  HETERO_RETURN_IF_ERROR(num_gpus).With("device CUDA");
  return num_gpus;
}

}  // namespace

absl::StatusOr<std::vector<Device>> DevicesOfThreads(proto::RunConfig::Device kind,
                                                     int64_t num_ranks) {
  std::vector<Device> devices(static_cast<size_t>(num_ranks));
  if (kind == proto::RunConfig::CPU) return devices;
  HETERO_ASSIGN_OR_RETURN(const int num_gpus, CountForDevice());
  const bool shared = num_gpus < num_ranks;
  for (int gpu = 0; gpu < (shared ? 1 : num_ranks); ++gpu) {
    HETERO_RETURN_IF_ERROR(ExpectGpuCode(gpu)).With("device CUDA");
  }
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    devices[rank] = {.kind = DeviceKind::kCuda, .ordinal = shared ? 0 : static_cast<int>(rank)};
  }
  return devices;
}

absl::StatusOr<Device> DeviceOfProcess(proto::RunConfig::Device kind, int64_t local_rank) {
  if (kind == proto::RunConfig::CPU) return Device();
  HETERO_ASSIGN_OR_RETURN(const int num_gpus, CountForDevice());
  if (num_gpus > 1 && local_rank >= num_gpus) {
    return absl::InvalidArgumentError(
        absl::StrCat("device CUDA: this is process ", local_rank,
                     " of its machine, counted from 0, "
                     "which has ",
                     Counted(num_gpus, "GPU"), "; a process needs a GPU of its own: start at most ",
                     num_gpus, " there, or let ranks share GPUs as threads, launch threads:N"));
  }
  const int ordinal = num_gpus == 1 ? 0 : static_cast<int>(local_rank);
  HETERO_RETURN_IF_ERROR(ExpectGpuCode(ordinal)).With("device CUDA");
  return Device{.kind = DeviceKind::kCuda, .ordinal = ordinal};
}

absl::StatusOr<std::string> DescribeGpuSoftware(Device gpu) {
  HETERO_ASSIGN_OR_RETURN(const std::string capability, ComputeCapability(gpu.ordinal));
  return absl::StrCat(DescribeCuda(), "\n", DescribeNccl(), "\ncompute capability ", capability);
}

RankBackend ChooseBackend(std::span<const Device> devices) {
  const bool one_each = devices.size() > 1 && devices[0].kind == DeviceKind::kCuda &&
                        devices[1].ordinal != devices[0].ordinal;
  return one_each ? RankBackend::kNccl : RankBackend::kThreads;
}

}  // namespace hetero
