#include "hetero/ckpt/publish/process_mark.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace hetero {
namespace {

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

struct ProcessState {
  char state = '?';
  std::string start;  // empty when there is no such process
};

// proc(5), /proc/pid/stat: the name in parentheses may hold anything, so fields count from behind
// it.
ProcessState StateOf(int64_t pid) {
  const std::string text = TextOf(absl::StrCat("/proc/", pid, "/stat"));
  const size_t name_end = text.rfind(')');
  if (name_end == text.npos) return {};
  const std::vector<std::string_view> fields =
      absl::StrSplit(std::string_view(text).substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kState = 0;
  constexpr size_t kStart = 19;
  if (fields.size() <= kStart) return {};
  return {.state = fields[kState][0], .start = std::string(fields[kStart])};
}

std::string Link(const char* path) {
  std::array<char, 256> text;
  const ssize_t size = ::readlink(path, text.data(), text.size());
  return size < 0 ? "" : std::string(text.data(), size);
}

std::string Text(const nlohmann::json& json, const char* name) {
  const auto at = json.find(name);
  return at != json.end() && at->is_string() ? at->get<std::string>() : "";
}

}  // namespace

nlohmann::json ProcessMark::ToJson() const {
  return {{"host", host},
          {"pid", pid},
          {"boot_id", boot_id},
          {"pid_namespace", pid_namespace},
          {"process_start", process_start}};
}

std::string ProcessMark::ToString() const {
  return absl::StrCat("process ", pid, " on host ", host);
}

ProcessMark ThisProcess() {
  std::array<char, 256> host = {};
  ::gethostname(host.data(), host.size() - 1);
  const int64_t pid = ::getpid();
  return {
      .host = host.data(),
      .pid = pid,
      .boot_id = std::string(absl::StripAsciiWhitespace(TextOf("/proc/sys/kernel/random/boot_id"))),
      .pid_namespace = Link("/proc/self/ns/pid"),
      .process_start = StateOf(pid).start};
}

ProcessMark ProcessMarkOf(const nlohmann::json& json) {
  ProcessMark mark = {.host = Text(json, "host"),
                      .boot_id = Text(json, "boot_id"),
                      .pid_namespace = Text(json, "pid_namespace"),
                      .process_start = Text(json, "process_start")};
  const auto pid = json.find("pid");
  if (pid != json.end() && pid->is_number_integer()) mark.pid = pid->get<int64_t>();
  return mark;
}

bool HasEnded(const ProcessMark& mark) {
  const ProcessMark here = ThisProcess();
  if (here.boot_id.empty() || here.pid_namespace.empty() || mark.pid <= 0 ||
      mark.boot_id != here.boot_id || mark.pid_namespace != here.pid_namespace) {
    return false;
  }
  if (::kill(static_cast<pid_t>(mark.pid), 0) != 0 && errno == ESRCH) return true;
  const ProcessState state = StateOf(mark.pid);
  if (state.start.empty()) return false;
  return state.start != mark.process_start || state.state == 'Z' || state.state == 'X';
}

}  // namespace hetero
