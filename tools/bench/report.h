#ifndef HETERO_TOOLS_BENCH_REPORT_H_
#define HETERO_TOOLS_BENCH_REPORT_H_

// The rows of a run as text and as JSON.

#include <span>
#include <string>

#include "hetero/tensor/device.h"
#include "hetero/tools/bench/measure.h"
#include "hetero/tools/bench/sizes.h"

namespace hetero::bench {

// What the rows have in common.
struct RunDescription {
  Device device;
  Sizes sizes;
  Ceilings ceilings;
};

// The lines above the rows.
std::string Heading(const RunDescription& run);

// One line: per pass microseconds with their spread, what it moves and computes, the rates, and the
// floor's share of the time; or why there is none.
std::string Line(const Row& row);

// All of it, numbers unrounded.
std::string ToJson(const RunDescription& run, std::span<const Row> rows);

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_REPORT_H_
