#ifndef HETERO_TOOLS_PLAN_CANDIDATES_H_
#define HETERO_TOOLS_PLAN_CANDIDATES_H_

// Splits with what they are predicted to do and need.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/models/registry.h"
#include "hetero/tools/plan/splits.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/timing/image_histogram.h"
#include "hetero/trainer/timing/machine_table.h"

namespace hetero {

struct Candidate {
  RecipeSplit split;
  double step_seconds = 0;
  double tokens_per_second = 0;
  int64_t rank_bytes = 0;  // of its device, of the rank that needs most
  // No other is faster and needs less.
  bool is_best = false;
};

// What samples are predicted for: the run's; else images of these sizes; else the largest.
struct PlannedSamples {
  std::optional<RunSamples> samples;
  std::vector<ImageCount> images;
};

// Of a split on `machine`.
// Errors: those of MakeJob, PredictClasses, SharesOf and ForecastStep.
absl::StatusOr<Candidate> Predict(const RecipeSplit& split, const ModelRegistry& models,
                                  const MachineTable& machine, const PlannedSamples& samples,
                                  const StopSignals& signals);

// Those that no other beats in tokens a second or memory first, then the others; each the fastest
// first.
void Rank(std::vector<Candidate>& candidates);

// A line for each, numbered from 1.
std::string DescribeCandidates(std::span<const Candidate> candidates);

}  // namespace hetero

#endif  // HETERO_TOOLS_PLAN_CANDIDATES_H_
