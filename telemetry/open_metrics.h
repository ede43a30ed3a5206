#ifndef HETERO_TELEMETRY_OPEN_METRICS_H_
#define HETERO_TELEMETRY_OPEN_METRICS_H_

// Values of a run as text that Prometheus reads (OpenMetrics 1.0).

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace hetero {

struct OpenMetric {
  enum class Kind : uint8_t { kGauge, kCounter };

  std::string name;  // any text; what the format does not take becomes "_"
  Kind kind = Kind::kGauge;
  double value = 0;
  std::string_view help = {};  // a sentence; empty: none
};

// "# TYPE hetero_lm_loss gauge\nhetero_lm_loss 2.5\n...# EOF\n". A name begins with `prefix`, that
// of a counter ends in "_total". Of equal names the first counts.
std::string OpenMetricsText(std::string_view prefix, std::span<const OpenMetric> metrics);

}  // namespace hetero

#endif  // HETERO_TELEMETRY_OPEN_METRICS_H_
