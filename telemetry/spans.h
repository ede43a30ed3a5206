#ifndef HETERO_TELEMETRY_SPANS_H_
#define HETERO_TELEMETRY_SPANS_H_

// Where a thread's time went, as named intervals. Spans of one thread nest; sinks (chrome_trace.h)
// turn the buffers of several threads into a file.
//
//   Span span(buffer, "llm.layer3", "forward");   // until the end of the scope

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hetero {

struct SpanRecord {
  std::string name;
  std::string category;  // "forward", "communication", "data"
  int64_t start_ns = 0;  // since the Unix epoch
  int64_t duration_ns = 0;
};

// At most `capacity` spans, the first ones of the run: recording costs bounded memory however long
// the run is. Not thread-safe: the thread that records owns it until it is joined.
class SpanBuffer {
 public:
  explicit SpanBuffer(int64_t capacity) : capacity_(capacity) {}

  // Counted as dropped when the buffer is full.
  void Add(std::string_view name, std::string_view category, int64_t start_ns, int64_t duration_ns);

  // In the order in which they ended.
  std::span<const SpanRecord> records() const { return records_; }
  int64_t num_dropped() const { return num_dropped_; }

 private:
  int64_t capacity_;
  std::vector<SpanRecord> records_;
  int64_t num_dropped_ = 0;
};

// Adds the time from construction to destruction to `buffer`; does nothing for a null buffer.
// `name` and `category` outlive the span.
class Span {
 public:
  Span(SpanBuffer* buffer, std::string_view name, std::string_view category);
  ~Span();

  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  SpanBuffer* const buffer_;
  const std::string_view name_;
  const std::string_view category_;
  const int64_t start_ns_;
};

}  // namespace hetero

#endif  // HETERO_TELEMETRY_SPANS_H_
