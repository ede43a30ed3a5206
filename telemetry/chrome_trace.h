#ifndef HETERO_TELEMETRY_CHROME_TRACE_H_
#define HETERO_TELEMETRY_CHROME_TRACE_H_

// Writes spans in the JSON "Trace Event Format" that chrome://tracing and Perfetto open.

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "hetero/telemetry/spans.h"

namespace hetero {

// One row of the picture. Tracks of equal process_id are shown together under process_name.
struct TraceTrack {
  int64_t process_id = 0;
  std::string process_name;  // "encoder", "llm"
  int64_t thread_id = 0;
  std::string thread_name;  // "rank 3"
  const SpanBuffer* spans = nullptr;
};

// Replaces the file at `path`. Times in the file are microseconds since the earliest span; that
// instant, in nanoseconds since the Unix epoch, is otherData.origin_ns, and the number of spans
// that full buffers refused is otherData.dropped_spans. Bytes that are no UTF-8 become U+FFFD.
// `clock_ahead`: of this process, of the clock that the file is to have.
// Errors: those of the file system, naming the path.
absl::Status WriteChromeTrace(const std::string& path, std::span<const TraceTrack> tracks,
                              absl::Duration clock_ahead = absl::ZeroDuration());

// Makes one file of those that several processes wrote by the above on one clock. Reads them twice
// and holds no more than an event. Errors: as above; INVALID_ARGUMENT naming a file and line that
// another program wrote.
absl::Status MergeChromeTraces(std::span<const std::string> paths, const std::string& merged);

}  // namespace hetero

#endif  // HETERO_TELEMETRY_CHROME_TRACE_H_
