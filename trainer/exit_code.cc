#include "hetero/trainer/exit_code.h"

#include "absl/strings/cord.h"

namespace hetero {
namespace {

constexpr std::string_view kDivergedPayload = "hetero/diverged";

constexpr ExitCodeMeaning kTable[] = {
    {ExitCode::kOk, "the run ended"},
    {ExitCode::kInternal, "a bug of this program"},
    {ExitCode::kConfig, "the run as described cannot work: flags, configuration, paths, layout"},
    {ExitCode::kData,
     "a data set is corrupt: a damaged or compressed shard, an index of another tar, a sample "
     "without a readable image; //tools:dataset_check names them all"},
    {ExitCode::kCommunication, "a rank failed, left or was too slow; starting again may help"},
    {ExitCode::kDiverged, "the run diverged: gradients or the loss stayed infinite or NaN"},
    {ExitCode::kStopped,
     "SIGINT or SIGTERM: the step or batch in work was finished, then the run ended; the same "
     "signal again, a second later or more, ends it at once"},
    {ExitCode::kOutOfResources, "out of memory, device memory, threads or disk"},
};

}  // namespace

std::span<const ExitCodeMeaning> ExitCodeTable() { return kTable; }

absl::Status DivergedError(std::string_view message) {
  absl::Status status = absl::FailedPreconditionError(message);
  status.SetPayload(kDivergedPayload, absl::Cord());
  return status;
}

ExitCode ExitCodeFor(const absl::Status& status) {
  if (status.GetPayload(kDivergedPayload).has_value()) return ExitCode::kDiverged;
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

}  // namespace hetero
