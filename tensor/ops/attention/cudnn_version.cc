#include "hetero/tensor/ops/attention/cudnn_version.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace hetero::internal {
namespace {

std::string Text(int64_t version) {
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace

absl::Status ExpectCudnnVersion(int64_t loaded, int64_t built_with) {
  const int64_t major = built_with / 10000;
  if (loaded >= built_with && loaded / 10000 == major) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "cuDNN ", Text(loaded), " is loaded; expected ", Text(built_with), " or a later ", major,
      ", which this program was built with: put its folder first in LD_LIBRARY_PATH"));
}

}  // namespace hetero::internal
