#include "hetero/base/system_error.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "hetero/base/out_of_memory.h"

namespace hetero {

absl::Status SystemError(int error, std::string_view what) {
  const absl::Status status = absl::ErrnoToStatus(error, what);
  switch (error) {
    case EMFILE:
      return absl::ResourceExhaustedError(
          absl::StrCat(status.message(), "; raise the limit (ulimit -n)"));
    case EFBIG:
      return absl::ResourceExhaustedError(
          absl::StrCat(status.message(), "; raise the limit (ulimit -f)"));
    case ENOMEM:
      return OutOfMemoryError(status.message());
    case EIO:
      return absl::ResourceExhaustedError(status.message());
    case ELOOP:
      return absl::InvalidArgumentError(status.message());
    default:
      return status;
  }
}

}  // namespace hetero
