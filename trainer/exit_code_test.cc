#include "hetero/trainer/exit_code.h"

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
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
      ExitCodeFor(DivergedError("nan")),
      ExitCodeFor(WithExitCode(absl::FailedPreconditionError("bits"), ExitCode::kNotReproduced)),
      ExitCodeFor(WithExitCode(absl::FailedPreconditionError("lease"), ExitCode::kFolderInUse)),
      ExitCodeFor(WithExitCode(absl::ResourceExhaustedError("disk"), ExitCode::kSavesFail)),
      ExitCodeFor(WithExitCode(absl::DataLossError("crc32"), ExitCode::kCheckpointDamaged)),
  };
  EXPECT_EQ(codes.size(), 12u);
  std::set<ExitCode> listed;
  for (const ExitCodeMeaning& row : ExitCodeTable()) listed.insert(row.code);
  EXPECT_EQ(listed, codes);
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeFor(absl::DeadlineExceededError("slow")), ExitCode::kCommunication);
}

// The tables for people are the one that the program prints.
TEST(ExitCodeTest, TheReadmesShowEveryCodeAsTheProgramDoes) {
  std::string expected = "\n| --- | --- |\n";
  for (const ExitCodeMeaning& row : ExitCodeTable()) {
    absl::StrAppend(&expected, "| ", static_cast<int>(row.code), " | ", row.meaning, " |\n");
  }
  expected += "\n";
  for (const char* path : {"README.md", "trainer/README.md"}) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    EXPECT_THAT(text.str(), ::testing::HasSubstr(expected)) << path;
  }
}

}  // namespace
}  // namespace hetero
