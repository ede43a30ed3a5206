#include "hetero/telemetry/open_metrics.h"

#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace hetero {
namespace {

TEST(OpenMetricsTest, NamesKindsAndValuesAreTheFormats) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<OpenMetric> metrics = {
      {.name = "iterations", .kind = OpenMetric::Kind::kCounter, .value = 12},
      {.name = "lm loss", .value = 2.5, .help = "A \"mean\"."},
      {.name = "lm-loss", .value = 3},
      {.name = "grad norm", .value = -kInfinity},
      {.name = "p", .value = std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_EQ(OpenMetricsText("hetero", metrics),
            "# TYPE hetero_iterations counter\n"
            "hetero_iterations_total 12\n"
            "# TYPE hetero_lm_loss gauge\n"
            "# HELP hetero_lm_loss A \\\"mean\\\".\n"
            "hetero_lm_loss 2.5\n"
            "# TYPE hetero_grad_norm gauge\n"
            "hetero_grad_norm -Inf\n"
            "# TYPE hetero_p gauge\n"
            "hetero_p NaN\n"
            "# EOF\n");
  EXPECT_EQ(OpenMetricsText("hetero", {}), "# EOF\n");
}

}  // namespace
}  // namespace hetero
