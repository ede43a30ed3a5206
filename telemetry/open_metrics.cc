#include "hetero/telemetry/open_metrics.h"

#include <cmath>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace hetero {
namespace {

std::string NameOf(std::string_view prefix, std::string_view name) {
  std::string made = absl::StrCat(prefix, "_", name);
  for (char& c : made) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return made;
}

std::string ValueOf(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return absl::StrFormat("%.17g", value);
}

}  // namespace

std::string OpenMetricsText(std::string_view prefix, std::span<const OpenMetric> metrics) {
  std::string text;
  std::set<std::string> names;
  for (const OpenMetric& metric : metrics) {
    const std::string name = NameOf(prefix, metric.name);
    if (!names.insert(name).second) continue;
    const bool counts = metric.kind == OpenMetric::Kind::kCounter;
    absl::StrAppend(&text, "# TYPE ", name, counts ? " counter\n" : " gauge\n");
    if (!metric.help.empty()) {
      absl::StrAppend(
          &text, "# HELP ", name, " ",
          absl::StrReplaceAll(metric.help, {{"\\", "\\\\"}, {"\n", "\\n"}, {"\"", "\\\""}}), "\n");
    }
    absl::StrAppend(&text, name, counts ? "_total " : " ", ValueOf(metric.value), "\n");
  }
  absl::StrAppend(&text, "# EOF\n");
  return text;
}

}  // namespace hetero
