#include "hetero/comm/nccl/nccl_version.h"

#include <nccl.h>

#include "absl/strings/str_cat.h"

namespace hetero {

std::string DescribeNccl() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "NCCL";
  // 10000 * major + 100 * minor + patch, since 2.9.
  return absl::StrCat("NCCL ", version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace hetero
