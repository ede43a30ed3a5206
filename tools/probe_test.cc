// The two programs as a user meets them: what they print and their exit codes.

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/shell_word.h"
#include "hetero/data/file/test_folder.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;

struct Result {
  int exit_code = 0;
  std::string output;  // standard output and error
};

Result RunProgram(std::string_view program, std::string_view arguments) {
  const std::string text =
      absl::StrCat(data::ShellWord(fs::absolute(program).native()), " ", arguments, " 2>&1");
  Result result;
  FILE* const pipe = popen(text.c_str(), "r");
  std::array<char, 4096> piece;
  while (const size_t size = fread(piece.data(), 1, piece.size(), pipe)) {
    result.output.append(piece.data(), size);
  }
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

constexpr char kProbe[] = "tools/probe";
constexpr char kCompare[] = "tools/compare_tensors";

std::string Testdata(std::string_view name) {
  return data::ShellWord(
      fs::absolute(fs::path("tools/model_probe/testdata/radio") / name).native());
}

TEST(ProbeProgramTest, WritesWhatTheOtherProgramCompares) {
  const fs::path folder = data::FreshFolder("probe");
  const std::string ours = data::ShellWord((folder / "ours.safetensors").native());
  const std::string command =
      absl::StrCat(Testdata("model"), " ", Testdata("inputs.safetensors"), " ", ours, " --tp=2");
  Result result = RunProgram(kProbe, absl::StrCat(command, " --layers"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("31 weights read"), HasSubstr("unused: radio_model.summary_idxs"),
                    HasSubstr("loss -47.76"), HasSubstr("ours.safetensors: 34 tensors")));

  const std::string both = absl::StrCat(ours, " ", Testdata("expected.safetensors"));
  result = RunProgram(kCompare, absl::StrCat(both, " --tolerance=1e-4"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("features: relative "), HasSubstr(", cosine "),
                    HasSubstr(", max abs "), HasSubstr("34 tensors, 0 beyond 0.0001, largest ")));
  result = RunProgram(kCompare, absl::StrCat(both, " --prefix=layer. --quiet"));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output, AllOf(HasSubstr("first divergence: layer.0: relative "),
                                   HasSubstr("1 tensors, 1 beyond 0, largest ")));
  result = RunProgram(kCompare, absl::StrCat(ours, " ", Testdata("model")));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("only in the second: radio_model.summary_idxs"));
}

TEST(ProbeProgramTest, ACommandLineThatCannotWorkIsExplained) {
  EXPECT_EQ(RunProgram(kProbe, "--help").exit_code, 0);
  EXPECT_EQ(RunProgram(kCompare, "--help").exit_code, 0);
  Result result = RunProgram(kProbe, "a b c --tp=none");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("--tp=none is no number of ranks; write --tp=1"));
  result = RunProgram(kProbe, "a b");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("2 paths are given"));
  result = RunProgram(kCompare, "a b --tolerance=-1");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("--tolerance=-1 is no tolerance"));
}

}  // namespace
}  // namespace hetero
