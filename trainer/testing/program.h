#ifndef HETERO_TRAINER_TESTING_PROGRAM_H_
#define HETERO_TRAINER_TESTING_PROGRAM_H_

// The program itself as a child process, started as a shell would: for what only a whole process
// has, its descriptors, signals and exit code.
//
//   Program program({.arguments = {"--recipe=mock_tiny", "--set", "train_steps=100000"}});
//   ASSERT_TRUE(program.WaitForOutput("iteration"));
//   program.Signal(SIGTERM);
//   EXPECT_EQ(program.Wait().exit_code, 6);

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace hetero {

struct ProgramOptions {
  std::vector<std::string> arguments;
  // "NAME=VALUE"; no other variables but where the program keeps what it downloads.
  std::vector<std::string> environment = {};
  // Where relative folders begin; empty: a fresh folder of the test's own.
  std::filesystem::path working_folder = {};
  // Runs in the child before the program, when its output is captured already: changes descriptors,
  // limits, signal actions. Makes system calls only.
  std::function<void()> before_start = {};
};

struct ProgramResult {
  int exit_code = 0;   // 128 + the signal that ended it, as shells count
  std::string output;  // on standard output
  std::string error;   // on standard error
};

// One thread uses it. Its destruction ends a program that still runs.
class Program {
 public:
  explicit Program(const ProgramOptions& options);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  const std::filesystem::path& working_folder() const { return working_folder_; }
  pid_t process() const { return process_; }

  // What came so far on standard output or on standard error.
  std::string Output() const;
  std::string Error() const;

  // Until `text` came on standard output. False when the program ends first or `timeout` passes.
  bool WaitForOutput(std::string_view text, absl::Duration timeout = absl::Seconds(60));

  // Of the program, which must run.
  void Signal(int signal);

  bool Running();

  // Until the program ends; after `timeout` the test fails and the program is killed.
  ProgramResult Wait(absl::Duration timeout = absl::Seconds(60));

 private:
  std::filesystem::path working_folder_;
  std::filesystem::path captured_;  // folder of what it prints
  pid_t process_ = -1;
  std::optional<int> exit_code_;
};

// Start, then Wait.
ProgramResult RunProgram(const ProgramOptions& options);

}  // namespace hetero

#endif  // HETERO_TRAINER_TESTING_PROGRAM_H_
