#include "hetero/tools/bench/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace hetero::bench {
namespace {

// Titles and numbers of a pass.
constexpr char kTitles[] = " %9s %5s %8s %8s %8s %6s %6s %6s";
constexpr char kNumbers[] = " %9.1f %5.1f %8.1f %8.1f %8.1f %6.0f %6.1f %6.1f";
constexpr int kWidth = 64;

std::string Titles() {
  return absl::StrFormat(kTitles, "us", "+-%", "queue us", "MB", "GFLOP", "GB/s", "TF/s", "floor%");
}

std::string Numbers(const Pass& pass) {
  const double us = pass.timing.median_us;
  return absl::StrFormat(kNumbers, us, 100 * pass.timing.spread(), pass.timing.queue_us,
                         1e-6 * pass.bytes, 1e-9 * pass.flops, 1e-3 * pass.bytes / us,
                         1e-6 * pass.flops / us, 100 * pass.share());
}

nlohmann::ordered_json ToJson(const Pass& pass) {
  return {{"median_us", pass.timing.median_us},
          {"min_us", pass.timing.min_us},
          {"max_us", pass.timing.max_us},
          {"queue_us", pass.timing.queue_us},
          {"samples", pass.timing.samples},
          {"calls_per_sample", pass.timing.calls},
          {"bytes", pass.bytes},
          {"flops", pass.flops},
          {"floor_us", pass.floor_us},
          {"share_of_floor", pass.share()}};
}

}  // namespace

std::string Heading(const RunDescription& run) {
  return absl::StrFormat(
      "%s, %d tokens, %d images of %d patches\n"
      "ceilings: copy %.0f GB/s, square product %.1f TFLOP/s\n"
      "floor: bytes and FLOPs of every operation at these; spread: (max - min) / median\n"
      "queue: what the host takes to queue a call; where that is longer, the device waits for "
      "it\n\n"
      "%-24s |%*s |%*s |%9s\n"
      "%-24s |%s |%s |%9s\n",
      run.device.ToString(), run.sizes.tokens, run.sizes.num_images, run.sizes.patches_per_image(),
      1e-9 * run.ceilings.copy_bytes, 1e-12 * run.ceilings.gemm_flops, "", kWidth, "forward",
      kWidth, "forward + backward", "peak", "", Titles(), Titles(), "MiB");
}

std::string Line(const Row& row) {
  if (!row.status.ok()) return absl::StrFormat("%-24s | %s\n", row.name, row.status.ToString());
  return absl::StrFormat(
      "%-24s |%s |%*s |%9.1f\n", row.name, Numbers(row.forward), kWidth,
      row.forward_backward.has_value() ? Numbers(*row.forward_backward) : std::string(),
      static_cast<double>(row.peak_bytes) / (1 << 20));
}

std::string ToJson(const RunDescription& run, std::span<const Row> rows) {
  nlohmann::ordered_json json = {
      {"device", run.device.ToString()},
      {"tokens", run.sizes.tokens},
      {"patches", run.sizes.num_patches()},
      {"copy_bytes_per_second", run.ceilings.copy_bytes},
      {"gemm_flops_per_second", run.ceilings.gemm_flops},
      {"rows", nlohmann::ordered_json::array()},
  };
  for (const Row& row : rows) {
    nlohmann::ordered_json entry = {{"name", row.name}};
    if (!row.status.ok()) {
      entry["status"] = row.status.ToString();
    } else {
      entry["forward"] = ToJson(row.forward);
      if (row.forward_backward.has_value()) {
        entry["forward_backward"] = ToJson(*row.forward_backward);
      }
      entry["peak_bytes"] = row.peak_bytes;
    }
    json["rows"].push_back(std::move(entry));
  }
  return absl::StrCat(json.dump(1), "\n");
}

}  // namespace hetero::bench
