#include "hetero/trainer/exit_code.h"

#include <set>

#include "gtest/gtest.h"

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
  };
  EXPECT_EQ(codes.size(), 7u);
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeFor(absl::DeadlineExceededError("slow")), ExitCode::kCommunication);
}

}  // namespace
}  // namespace hetero
