#include "hetero/telemetry/spans.h"

#include "absl/time/clock.h"

namespace hetero {

void SpanBuffer::Add(std::string_view name, std::string_view category, int64_t start_ns,
                     int64_t duration_ns) {
  if (static_cast<int64_t>(records_.size()) >= capacity_) {
    ++num_dropped_;
    return;
  }
  records_.push_back({std::string(name), std::string(category), start_ns, duration_ns});
}

Span::Span(SpanBuffer* buffer, std::string_view name, std::string_view category)
    : buffer_(buffer),
      name_(name),
      category_(category),
      start_ns_(buffer == nullptr ? 0 : absl::GetCurrentTimeNanos()) {}

Span::~Span() {
  if (buffer_ == nullptr) return;
  buffer_->Add(name_, category_, start_ns_, absl::GetCurrentTimeNanos() - start_ns_);
}

}  // namespace hetero
