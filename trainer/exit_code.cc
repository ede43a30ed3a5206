#include "hetero/trainer/exit_code.h"

#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

constexpr std::string_view kCodePayload = "hetero/exit_code";

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
    {ExitCode::kNotReproduced,
     "--replay: the steps of the capsule report other numbers now, the first is named"},
    {ExitCode::kFolderInUse,
     "another run saves in the folder of checkpoints, or those are of another model"},
    {ExitCode::kSavesFail, "several checkpoints, one after the other, could not be saved"},
    {ExitCode::kCheckpointDamaged,
     "the checkpoint to go on from is damaged, and so are those that may take its place"},
};

}  // namespace

std::span<const ExitCodeMeaning> ExitCodeTable() { return kTable; }

absl::Status WithExitCode(absl::Status status, ExitCode code) {
  status.SetPayload(kCodePayload, absl::Cord(absl::StrCat(static_cast<int>(code))));
  return status;
}

absl::Status DivergedError(std::string_view message) {
  return WithExitCode(absl::FailedPreconditionError(message), ExitCode::kDiverged);
}

ExitCode ExitCodeFor(const absl::Status& status) {
  if (const std::optional<absl::Cord> code = status.GetPayload(kCodePayload)) {
    for (const ExitCodeMeaning& row : kTable) {
      if (*code == absl::StrCat(static_cast<int>(row.code))) return row.code;
    }
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

}  // namespace hetero
