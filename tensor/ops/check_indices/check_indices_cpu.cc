#include <cstdint>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/check_indices/check_indices.h"
#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

template <typename Counts>
absl::Status Check(const CheckIndicesArgs& args, Counts counts) {
  const int32_t* const indices = args.indices_N.data<int32_t>();
  for (int64_t n = 0; n < args.indices_N.dim(0); ++n) {
    if ((indices[n] >= 0 && indices[n] < args.limit) || !counts(n)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(args.what, " ", indices[n], " at ", n, "; expected 0 to ", args.limit - 1));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckIndicesCpu(const CheckIndicesArgs& args) {
  if (args.weight_N.is_null()) {
    return Check(args, [](int64_t) { return true; });
  }
  absl::Status found;
  HETERO_RETURN_IF_ERROR(VisitFloat(args.weight_N.dtype(), [&]<typename T>() {
    const T* const weight = args.weight_N.data<T>();
    found = Check(args, [&](int64_t n) { return weight[n] != T(0); });
  }));
  return found;
}

}  // namespace hetero::internal
