#include "hetero/trainer/exit_code.h"

#include <optional>
#include <string>
#include <string_view>

#include "absl/log/check.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

constexpr std::string_view kPayload = "hetero/exit_code";

}  // namespace

ExitCode ExitCodeFor(const absl::Status& status) {
  if (const std::optional<absl::Cord> payload = status.GetPayload(kPayload)) {
    int code;
    CHECK(absl::SimpleAtoi(std::string(*payload), &code));
    return static_cast<ExitCode>(code);
  }
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kCancelled:
      return ExitCode::kStopped;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return ExitCode::kConfig;
    case absl::StatusCode::kDataLoss:
      return ExitCode::kData;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kCommunication;
    case absl::StatusCode::kResourceExhausted:
      return ExitCode::kOutOfResources;
    default:
      return ExitCode::kInternal;
  }
}

absl::Status WithExitCode(absl::Status status, ExitCode code) {
  CHECK(!status.ok());
  CHECK(code != ExitCode::kOk);
  if (!status.GetPayload(kPayload).has_value()) {
    status.SetPayload(kPayload, absl::Cord(absl::StrCat(static_cast<int>(code))));
  }
  return status;
}

}  // namespace hetero
