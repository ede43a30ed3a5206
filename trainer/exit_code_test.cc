#include "hetero/trainer/exit_code.h"

#include <set>

#include "gtest/gtest.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

TEST(ExitCodeTest, EveryKindOfFailureHasItsOwnCode) {
  const std::set<ExitCode> codes = {
      ExitCodeFor(absl::OkStatus()),
      ExitCodeFor(absl::InternalError("bug")),
      ExitCodeFor(absl::InvalidArgumentError("llm.tp")),
      ExitCodeFor(absl::DataLossError("shard")),
      ExitCodeFor(absl::AbortedError("rank 3")),
      ExitCodeFor(absl::CancelledError("SIGTERM")),
      ExitCodeFor(absl::ResourceExhaustedError("disk")),
      ExitCodeFor(WithExitCode(absl::FailedPreconditionError("NaN"), ExitCode::kNumerics)),
  };
  EXPECT_EQ(codes.size(), 8u);
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeFor(absl::DeadlineExceededError("slow")), ExitCode::kCommunication);
  EXPECT_EQ(static_cast<int>(ExitCode::kResumeToDisambiguate), 16);
  EXPECT_EQ(static_cast<int>(ExitCode::kFailedValidation), 17);
}

TEST(ExitCodeTest, AttachedCodeSurvivesContextAndTheFirstWins) {
  const absl::Status numeric = WithExitCode(absl::AbortedError("loss is NaN"), ExitCode::kNumerics);
  EXPECT_EQ(ExitCodeFor(Annotate(numeric, "rank 2")), ExitCode::kNumerics);
  EXPECT_EQ(ExitCodeFor(WithExitCode(numeric, ExitCode::kData)), ExitCode::kNumerics);
}

}  // namespace
}  // namespace hetero
