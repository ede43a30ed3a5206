#include "hetero/telemetry/chrome_trace.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

struct Head {
  int64_t origin_ns = 0;
  int64_t num_dropped = 0;
};

// The first line of a file; an event follows on each other.
std::string HeadOf(const Head& head) {
  return absl::StrCat(R"({"displayTimeUnit":"ms","otherData":)",
                      Dump({{"origin_ns", absl::StrCat(head.origin_ns)},
                            {"dropped_spans", absl::StrCat(head.num_dropped)}}),
                      R"(,"traceEvents":[)");
}

absl::Status ReadError(const std::string& path) {
  return SystemError(errno == 0 ? EIO : errno, absl::StrCat("cannot read trace ", path));
}

absl::Status NotOurs(const std::string& path, int64_t line) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ":", line, ": not as this program writes a trace"));
}

// Calls `event` for every event of the file.
template <typename Event>
absl::StatusOr<Head> ReadTrace(const std::string& path, Event event) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string line;
  if (!std::getline(file, line)) return ReadError(path);
  const Json first = Json::parse(line + "]}", nullptr, /*allow_exceptions=*/false);
  Head head;
  const auto number = [&](const char* name, int64_t& value) {
    if (!first.is_object()) return false;
    const auto other = first.find("otherData");
    if (other == first.end() || !other->is_object()) return false;
    const auto found = other->find(name);
    return found != other->end() && found->is_string() &&
           absl::SimpleAtoi(found->template get<std::string>(), &value);
  };
  if (!number("origin_ns", head.origin_ns) || !number("dropped_spans", head.num_dropped)) {
    return NotOurs(path, 1);
  }
  for (int64_t number_of_line = 2; std::getline(file, line) && line != "]}"; ++number_of_line) {
    if (line.ends_with(',')) line.pop_back();
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool is_event = json.is_object() && json.contains("ph") &&
                          (!json.contains("ts") || json.at("ts").is_number());
    if (!is_event) return NotOurs(path, number_of_line);
    event(json);
  }
  if (line != "]}") return NotOurs(path, 0);
  return head;
}

// A file that is being written.
class TraceFile {
 public:
  TraceFile(const std::string& path, const Head& head)
      : path_(path), file_(path, std::ios::binary | std::ios::trunc) {
    file_ << HeadOf(head);
  }

  void Add(const Json& event) {
    file_ << separator_ << Dump(event);
    separator_ = ",\n";
  }

  absl::Status Close() {
    file_ << "\n]}\n";
    file_.close();
    if (file_) return absl::OkStatus();
    return SystemError(errno == 0 ? EIO : errno, absl::StrCat("cannot write trace ", path_));
  }

 private:
  const std::string path_;
  std::ofstream file_;
  std::string_view separator_ = "\n";
};

Json NameEvent(std::string_view what, const TraceTrack& track, const std::string& name) {
  return {{"ph", "M"},
          {"name", what},
          {"pid", track.process_id},
          {"tid", track.thread_id},
          {"args", {{"name", name}}}};
}

}  // namespace

absl::Status WriteChromeTrace(const std::string& path, std::span<const TraceTrack> tracks,
                              absl::Duration clock_ahead) {
  int64_t origin_ns = std::numeric_limits<int64_t>::max();
  int64_t num_dropped = 0;
  for (const TraceTrack& track : tracks) {
    num_dropped += track.spans->num_dropped();
    for (const SpanRecord& span : track.spans->records()) {
      origin_ns = std::min(origin_ns, span.start_ns);
    }
  }
  if (origin_ns == std::numeric_limits<int64_t>::max()) origin_ns = 0;

  errno = 0;
  TraceFile file(path, {.origin_ns = origin_ns - absl::ToInt64Nanoseconds(clock_ahead),
                        .num_dropped = num_dropped});
  for (const TraceTrack& track : tracks) {
    file.Add(NameEvent("process_name", track, track.process_name));
    file.Add(NameEvent("thread_name", track, track.thread_name));
    for (const SpanRecord& span : track.spans->records()) {
      file.Add({{"ph", "X"},
                {"name", span.name},
                {"cat", span.category},
                {"pid", track.process_id},
                {"tid", track.thread_id},
                {"ts", static_cast<double>(span.start_ns - origin_ns) / 1000},
                {"dur", static_cast<double>(span.duration_ns) / 1000}});
    }
  }
  return file.Close();
}

absl::Status MergeChromeTraces(std::span<const std::string> paths, const std::string& merged) {
  Head head = {.origin_ns = std::numeric_limits<int64_t>::max()};
  std::vector<int64_t> origins;
  for (const std::string& path : paths) {
    HETERO_ASSIGN_OR_RETURN(const Head own, ReadTrace(path, [](const Json&) {}));
    origins.push_back(own.origin_ns);
    // One without spans begins at no time.
    if (own.origin_ns > 0) head.origin_ns = std::min(head.origin_ns, own.origin_ns);
    head.num_dropped += own.num_dropped;
  }
  if (head.origin_ns == std::numeric_limits<int64_t>::max()) head.origin_ns = 0;
  errno = 0;
  TraceFile file(merged, head);
  for (size_t i = 0; i < paths.size(); ++i) {
    const double shift = static_cast<double>(origins[i] - head.origin_ns) / 1000;
    const auto add = [&](Json event) {
      if (event.contains("ts")) event["ts"] = event["ts"].get<double>() + shift;
      file.Add(event);
    };
    HETERO_RETURN_IF_ERROR(ReadTrace(paths[i], add).status());
  }
  return file.Close();
}

}  // namespace hetero
