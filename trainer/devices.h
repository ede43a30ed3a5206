#ifndef HETERO_TRAINER_DEVICES_H_
#define HETERO_TRAINER_DEVICES_H_

// Which device each rank of a run has.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/device.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Of ranks that are threads of this process: with as many GPUs as ranks each has its own, with
// fewer all share the first. Errors: those of CountGpus and ExpectGpuCode.
absl::StatusOr<std::vector<Device>> DevicesOfThreads(proto::RunConfig::Device kind,
                                                     int64_t num_ranks);

// Of a rank that is a process, `local_rank` among those of its machine: of the GPUs that it sees
// the one of that place, or the only one, which a launcher may have chosen for it.
// Errors: INVALID_ARGUMENT when there are several and not one of that place; those of CountGpus and
// ExpectGpuCode.
absl::StatusOr<Device> DeviceOfProcess(proto::RunConfig::Device kind, int64_t local_rank);

// What all processes of a run have the same of their GPUs, a line each: CUDA, NCCL, compute
// capability. Errors: those of CountGpus.
absl::StatusOr<std::string> DescribeGpuSoftware(Device gpu);

// Ranks with a GPU each speak over NCCL, ranks that share one through its memory.
RankBackend ChooseBackend(std::span<const Device> devices);

}  // namespace hetero

#endif  // HETERO_TRAINER_DEVICES_H_
