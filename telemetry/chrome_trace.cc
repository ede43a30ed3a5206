#include "hetero/telemetry/chrome_trace.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/system_error.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Json NameEvent(std::string_view what, const TraceTrack& track, const std::string& name) {
  return {{"ph", "M"},
          {"name", what},
          {"pid", track.process_id},
          {"tid", track.thread_id},
          {"args", {{"name", name}}}};
}

}  // namespace

absl::Status WriteChromeTrace(const std::string& path, std::span<const TraceTrack> tracks) {
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
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << R"({"displayTimeUnit":"ms","otherData":)"
       << Dump({{"origin_ns", absl::StrCat(origin_ns)},
                {"dropped_spans", absl::StrCat(num_dropped)}})
       << R"(,"traceEvents":[)";
  std::string_view separator = "\n";
  const auto add = [&](const Json& event) {
    file << separator << Dump(event);
    separator = ",\n";
  };
  for (const TraceTrack& track : tracks) {
    add(NameEvent("process_name", track, track.process_name));
    add(NameEvent("thread_name", track, track.thread_name));
    for (const SpanRecord& span : track.spans->records()) {
      add({{"ph", "X"},
           {"name", span.name},
           {"cat", span.category},
           {"pid", track.process_id},
           {"tid", track.thread_id},
           {"ts", static_cast<double>(span.start_ns - origin_ns) / 1000},
           {"dur", static_cast<double>(span.duration_ns) / 1000}});
    }
  }
  file << "\n]}\n";
  file.close();
  if (!file) {
    return SystemError(errno == 0 ? EIO : errno, absl::StrCat("cannot write trace ", path));
  }
  return absl::OkStatus();
}

}  // namespace hetero
