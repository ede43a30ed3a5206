#include "hetero/tools/bench/sampler.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"

namespace hetero::bench {
namespace {

constexpr int64_t kWarmUpCalls = 3;
// Samples differ: a sample is planned this much longer than it has to be.
constexpr double kMargin = 1.15;

}  // namespace

Sampler::Sampler(Stream& stream, const SamplerOptions& options, Event start, Event end)
    : stream_(&stream), options_(options), start_(std::move(start)), end_(std::move(end)) {}

absl::StatusOr<Sampler> Sampler::Create(Stream& stream, const SamplerOptions& options) {
  HETERO_ASSIGN_OR_RETURN(Event start, Event::CreateTimed(stream.device()));
  HETERO_ASSIGN_OR_RETURN(Event end, Event::CreateTimed(stream.device()));
  return Sampler(stream, options, std::move(start), std::move(end));
}

absl::StatusOr<Sampler::Sample> Sampler::Time(absl::FunctionRef<absl::Status(int64_t)> call,
                                              int64_t first, int64_t count) {
  HETERO_RETURN_IF_ERROR(start_.Record(*stream_));
  const absl::Time began = absl::Now();
  for (int64_t i = 0; i < count; ++i) HETERO_RETURN_IF_ERROR(call(first + i));
  const absl::Duration queued = absl::Now() - began;
  HETERO_RETURN_IF_ERROR(end_.Record(*stream_));
  HETERO_RETURN_IF_ERROR(end_.Synchronize());
  HETERO_ASSIGN_OR_RETURN(const absl::Duration time, Event::TimeBetween(start_, end_));
  return Sample{.device_ms = absl::ToDoubleMilliseconds(time),
                .host_ms = absl::ToDoubleMilliseconds(queued)};
}

absl::StatusOr<Timing> Sampler::Measure(absl::FunctionRef<absl::Status(int64_t)> call) {
  int64_t next = 0;
  const auto time = [&](int64_t count) {
    next += count;
    return Time(call, next - count, count);
  };
  HETERO_RETURN_IF_ERROR(time(kWarmUpCalls).status());
  HETERO_RETURN_IF_ERROR(stream_->Synchronize());

  int64_t calls = 1;
  for (;;) {
    HETERO_ASSIGN_OR_RETURN(const Sample sample, time(calls));
    if (sample.device_ms >= options_.sample_ms) break;
    const double wanted = kMargin * options_.sample_ms / std::max(sample.device_ms, 1e-3);
    calls = std::max(calls + 1, static_cast<int64_t>(static_cast<double>(calls) * wanted));
  }

  std::vector<double> samples, queued;
  while (std::ssize(samples) < options_.samples) {
    HETERO_ASSIGN_OR_RETURN(const Sample sample, time(calls));
    if (sample.device_ms < options_.sample_ms) {  // calls are faster now: samples are to be alike
      samples.clear();
      queued.clear();
      calls = std::max(calls + 1, static_cast<int64_t>(kMargin * static_cast<double>(calls)));
      continue;
    }
    samples.push_back(1e3 * sample.device_ms / static_cast<double>(calls));
    queued.push_back(1e3 * sample.host_ms / static_cast<double>(calls));
  }
  std::ranges::sort(queued);
  std::ranges::sort(samples);
  return Timing{.median_us = samples[samples.size() / 2],
                .min_us = samples.front(),
                .max_us = samples.back(),
                .queue_us = queued[queued.size() / 2],
                .samples = options_.samples,
                .calls = calls};
}

}  // namespace hetero::bench
