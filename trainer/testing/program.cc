#include "hetero/trainer/testing/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "absl/log/check.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kPollInterval = absl::Milliseconds(5);

// Bazel starts a test where the files of its targets lie.
fs::path ProgramPath() {
  static const fs::path path = fs::absolute("trainer/hetero");
  return path;
}

std::string TextOf(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

fs::path FreshFolder() {
  std::string name = absl::StrCat(::testing::TempDir(), "/program.XXXXXX");
  CHECK(mkdtemp(name.data()) != nullptr) << name;
  return name;
}

void Capture(const fs::path& path, int descriptor) {
  const int file = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
}

}  // namespace

Program::Program(const ProgramOptions& options)
    : working_folder_(options.working_folder.empty() ? FreshFolder() : options.working_folder),
      captured_(FreshFolder()) {
  const fs::path program = ProgramPath();
  std::vector<std::string> words = {program.native()};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // What the program keeps for the user stays in the test.
  std::string cache = absl::StrCat("XDG_CACHE_HOME=", working_folder_.native(), "/cache");
  std::vector<std::string> variables = options.environment;
  std::vector<char*> environment = {cache.data()};
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  process_ = fork();
  CHECK_GE(process_, 0) << "cannot fork";
  if (process_ > 0) return;
  Capture(captured_ / "output", STDOUT_FILENO);
  Capture(captured_ / "error", STDERR_FILENO);
  if (chdir(working_folder_.c_str()) != 0) _exit(127);
  if (options.before_start) options.before_start();
  execve(program.c_str(), argv.data(), environment.data());
  _exit(127);
}

Program::~Program() {
  if (!Running()) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

std::string Program::Output() const { return TextOf(captured_ / "output"); }

std::string Program::Error() const { return TextOf(captured_ / "error"); }

bool Program::WaitForOutput(std::string_view text, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!absl::StrContains(Output(), text)) {
    if (!Running() || absl::Now() > deadline) return absl::StrContains(Output(), text);
    absl::SleepFor(kPollInterval);
  }
  return true;
}

void Program::Signal(int signal) {
  CHECK(Running()) << Output() << Error();
  CHECK_EQ(kill(process_, signal), 0);
}

bool Program::Running() {
  if (exit_code_.has_value()) return false;
  int status = 0;
  if (waitpid(process_, &status, WNOHANG) != process_) return true;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

ProgramResult Program::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (Running()) {
    if (absl::Now() > deadline) {
      ADD_FAILURE() << "still runs after " << timeout << ":\n" << Output() << Error();
      kill(process_, SIGKILL);
    }
    absl::SleepFor(kPollInterval);
  }
  return {.exit_code = *exit_code_, .output = Output(), .error = Error()};
}

ProgramResult RunProgram(const ProgramOptions& options) { return Program(options).Wait(); }

}  // namespace hetero
