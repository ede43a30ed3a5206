#include "hetero/comm/rendezvous/launcher.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/comm/rendezvous/frame.h"
#include "hetero/comm/rendezvous/launch_place.h"
#include "hetero/comm/rendezvous/socket.h"

extern char** environ;

namespace hetero {
namespace {

constexpr char kHost[] = "127.0.0.1";
constexpr absl::Duration kLook = absl::Milliseconds(20);
// After a failure the other ranks hear of it and end: a step in work, a trace to write.
constexpr absl::Duration kGrace = absl::Seconds(45);
// One that is stopped hears of nothing.
constexpr absl::Duration kGraceOfStopped = absl::Seconds(2);
// Of a process that could tell nothing.
constexpr int kLostExitCode = 4;

struct Child {
  pid_t pid = -1;
  internal::Socket failures;  // the end that is read
  std::string told;
  std::optional<int> status;  // of waitpid, when it has ended
  bool is_stopped = false;
  bool is_killed = false;  // by the launcher
};

// What the child needs, made before fork: after it nothing may take memory.
struct Prepared {
  std::vector<std::string> environment;
  std::vector<char*> environment_pointers;
  std::vector<char*> arguments;
};

Prepared Prepare(std::span<const std::string> arguments,
                 const std::map<std::string, std::string>& variables) {
  Prepared prepared;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!variables.contains(std::string(text.substr(0, text.find('='))))) {
      prepared.environment.emplace_back(text);
    }
  }
  for (const auto& [name, value] : variables) {
    prepared.environment.push_back(absl::StrCat(name, "=", value));
  }
  for (std::string& entry : prepared.environment) {
    prepared.environment_pointers.push_back(entry.data());
  }
  prepared.environment_pointers.push_back(nullptr);
  for (const std::string& argument : arguments) {
    prepared.arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  prepared.arguments.push_back(nullptr);
  return prepared;
}

absl::StatusOr<Child> Start(const Prepared& prepared, int failures, internal::Socket failures_end,
                            int listening) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return SystemError(errno, "cannot start a process for a rank");
  if (pid > 0) {
    Child child;
    child.pid = pid;
    child.failures = std::move(failures_end);
    return child;
  }
  // Whoever kills the launcher ends the run.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(kLostExitCode);
  // These two stay open in the program.
  fcntl(failures, F_SETFD, 0);
  if (listening >= 0) fcntl(listening, F_SETFD, 0);
  execve("/proc/self/exe", prepared.arguments.data(), prepared.environment_pointers.data());
  _exit(kLostExitCode);
}

void ReadFailure(Child& child) {
  std::array<char, 4096> bytes;
  ssize_t count = 0;
  while ((count = read(child.failures.descriptor(), bytes.data(), bytes.size())) > 0) {
    child.told.append(bytes.data(), static_cast<size_t>(count));
  }
}

bool Failed(const Child& child) { return child.status.has_value() && *child.status != 0; }

class Launch {
 public:
  explicit Launch(const std::function<int()>& requested) : requested_(requested) {}
  ~Launch() {
    for (Child& child : children_) {
      if (child.status.has_value()) continue;
      kill(child.pid, SIGKILL);
      waitpid(child.pid, nullptr, 0);
    }
  }

  absl::Status Start(int64_t num_processes, std::span<const std::string> arguments) {
    HETERO_ASSIGN_OR_RETURN(const internal::Socket listening, internal::Listen(kHost, 0));
    HETERO_ASSIGN_OR_RETURN(port_, internal::PortOf(listening));
    for (int64_t i = 0; i < num_processes; ++i) {
      std::array<int, 2> ends = {};
      if (pipe2(ends.data(), O_CLOEXEC) != 0) return SystemError(errno, "cannot make a pipe");
      internal::Socket read_end(ends[0]);
      const internal::Socket write_end(ends[1]);
      fcntl(read_end.descriptor(), F_SETFL, O_NONBLOCK);
      std::map<std::string, std::string> variables = {
          {internal::kRankVariable, absl::StrCat(i)},
          {internal::kWorldSizeVariable, absl::StrCat(num_processes)},
          {internal::kLocalRankVariable, absl::StrCat(i)},
          {internal::kRendezvousVariable, absl::StrCat(kHost, ":", port_)},
          {internal::kFailuresVariable, absl::StrCat(write_end.descriptor())}};
      if (i == 0) {
        variables[internal::kListeningVariable] = absl::StrCat(listening.descriptor());
      }
      HETERO_ASSIGN_OR_RETURN(
          Child child, hetero::Start(Prepare(arguments, variables), write_end.descriptor(),
                                     std::move(read_end), i == 0 ? listening.descriptor() : -1));
      children_.push_back(std::move(child));
    }
    return absl::OkStatus();
  }

  void AwaitAll() {
    std::optional<absl::Time> failed_at;
    while (!std::ranges::all_of(children_, [](const Child& c) { return c.status.has_value(); })) {
      Look();
      PassOn();
      if (has_failed_ && !failed_at.has_value()) failed_at = absl::Now();
      if (failed_at.has_value()) KillTheLate(absl::Now() - *failed_at);
      absl::SleepFor(kLook);
    }
  }

  LaunchOutcome Outcome() const {
    LaunchOutcome outcome;
    if (!has_failed_) return outcome;
    // All tell of the run's first failure; one that was killed can tell nothing.
    for (const size_t i : ended_) {
      internal::FrameParser parser;
      parser.Append(children_[i].told);
      const absl::StatusOr<std::optional<internal::Frame>> frame = parser.Next();
      if (!frame.ok() || !frame->has_value() || (*frame)->texts.size() != 2) continue;
      outcome.exit_code = static_cast<int>((*frame)->number);
      outcome.first_line = (*frame)->texts[0];
      outcome.failure = (*frame)->texts[1];
      break;
    }
    std::vector<std::string> lost;
    for (size_t i = 0; i < children_.size(); ++i) {
      const int status = *children_[i].status;
      if (status == 0 || !children_[i].told.empty() || children_[i].is_killed) continue;
      lost.push_back(WIFSIGNALED(status)
                         ? absl::StrCat("rank ", i, " was killed by signal ", WTERMSIG(status),
                                        " (", strsignal(WTERMSIG(status)), ")")
                         : absl::StrCat("rank ", i, " ended with exit code ", WEXITSTATUS(status)));
    }
    if (outcome.exit_code == 0) {
      const int status = *children_[first_failure_].status;
      outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : kLostExitCode;
    }
    if (!lost.empty()) {
      outcome.first_line = absl::StrCat(absl::StrJoin(lost, ", "),
                                        outcome.first_line.empty() ? "" : "; ", outcome.first_line);
    }
    return outcome;
  }

 private:
  void KillTheLate(absl::Duration since_failure) {
    for (Child& child : children_) {
      if (child.status.has_value() || child.is_killed) continue;
      if (since_failure < (child.is_stopped ? kGraceOfStopped : kGrace)) continue;
      kill(child.pid, SIGKILL);
      child.is_killed = true;
    }
  }

  void Look() {
    for (size_t i = 0; i < children_.size(); ++i) {
      Child& child = children_[i];
      ReadFailure(child);
      int status = 0;
      if (child.status.has_value() ||
          waitpid(child.pid, &status, WNOHANG | WUNTRACED | WCONTINUED) != child.pid) {
        continue;
      }
      if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
        child.is_stopped = WIFSTOPPED(status);
        continue;
      }
      ReadFailure(child);
      child.status = status;
      ended_.push_back(i);
      if (!Failed(child)) continue;
      TellOthers(i);
      if (has_failed_) continue;
      has_failed_ = true;
      first_failure_ = i;
    }
  }

  // The rendezvous sees a rank end only if it had come. There may be no rendezvous any more, which
  // the others see by themselves.
  void TellOthers(size_t rank) const {
    absl::StatusOr<internal::Socket> socket = internal::Connect(kHost, port_, absl::ZeroDuration());
    if (!socket.ok()) return;
    internal::Connection connection(*std::move(socket));
    connection.Send({.kind = internal::FrameKind::kLost, .number = static_cast<int64_t>(rank)});
    connection.Flush().IgnoreError();
  }

  void PassOn() {
    const int signal = requested_();
    if (signal == 0 || passed_on_) return;
    passed_on_ = true;
    for (const Child& child : children_) {
      if (!child.status.has_value()) kill(child.pid, signal);
    }
  }

  const std::function<int()>& requested_;
  int port_ = 0;
  std::vector<Child> children_;
  std::vector<size_t> ended_;  // in the order of their end
  bool has_failed_ = false;
  size_t first_failure_ = 0;
  bool passed_on_ = false;
};

}  // namespace

absl::StatusOr<LaunchOutcome> LaunchProcesses(int64_t num_processes,
                                              std::span<const std::string> arguments,
                                              const std::function<int()>& requested) {
  Launch launch(requested);
  HETERO_RETURN_IF_ERROR(launch.Start(num_processes, arguments));
  launch.AwaitAll();
  return launch.Outcome();
}

void TellLauncher(int descriptor, int exit_code, const std::string& first_line,
                  const std::string& description) {
  const std::string bytes = internal::Encode({.kind = internal::FrameKind::kAbort,
                                              .number = exit_code,
                                              .texts = {first_line, description}});
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = write(descriptor, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    written += static_cast<size_t>(count);
  }
}

}  // namespace hetero
