#ifndef HETERO_COMM_NCCL_NCCL_VERSION_H_
#define HETERO_COMM_NCCL_NCCL_VERSION_H_

#include <string>

namespace hetero {

// "NCCL 2.27.3", of the library that runs; empty when built without CUDA.
std::string DescribeNccl();

}  // namespace hetero

#endif  // HETERO_COMM_NCCL_NCCL_VERSION_H_
