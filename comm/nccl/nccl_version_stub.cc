#include "hetero/comm/nccl/nccl_version.h"

namespace hetero {

std::string DescribeNccl() { return ""; }

}  // namespace hetero
