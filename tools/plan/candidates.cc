#include "hetero/tools/plan/candidates.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/timing/forecast.h"

namespace hetero {

absl::StatusOr<Candidate> Predict(const RecipeSplit& split, const ModelRegistry& models,
                                  const MachineTable& machine, const PlannedSamples& samples,
                                  const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(Job job, MakeJob({.config = split.config}, models));
  HETERO_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, PredictClasses(job, signals));
  job.samples = samples.samples;
  std::vector<SampleShare> shares;
  if (!samples.images.empty()) {
    HETERO_ASSIGN_OR_RETURN(shares,
                            SharesOf(samples.images, ContractOf(job.model->graph()), job.limits));
  }
  HETERO_ASSIGN_OR_RETURN(const StepForecast forecast, ForecastStep(job, machine, signals, shares));
  Candidate candidate = {.split = split,
                         .step_seconds = forecast.seconds,
                         .tokens_per_second = forecast.tokens_per_second};
  for (const Prediction& prediction : predictions) {
    candidate.rank_bytes = std::max(candidate.rank_bytes, prediction.memory.device_bytes());
  }
  return candidate;
}

void Rank(std::vector<Candidate>& candidates) {
  std::ranges::stable_sort(candidates, [](const Candidate& a, const Candidate& b) {
    return std::tuple(-a.tokens_per_second, a.rank_bytes) <
           std::tuple(-b.tokens_per_second, b.rank_bytes);
  });
  int64_t least = std::numeric_limits<int64_t>::max();
  for (Candidate& candidate : candidates) {
    candidate.is_best = candidate.rank_bytes < least;
    least = std::min(least, candidate.rank_bytes);
  }
  std::ranges::stable_partition(candidates, &Candidate::is_best);
}

std::string DescribeCandidates(std::span<const Candidate> candidates) {
  std::string text =
      absl::StrFormat("%4s %12s %10s %12s  %s", "", "tokens/s", "step, ms", "MiB a rank", "split");
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& candidate = candidates[i];
    if (i > 0 && candidates[i - 1].is_best && !candidate.is_best) {
      absl::StrAppend(&text, "\nof each of these, another is as fast and needs no more:");
    }
    absl::StrAppendFormat(&text, "\n%4d %12.0f %10.2f %12.1f  %s", i + 1,
                          candidate.tokens_per_second, candidate.step_seconds * 1e3,
                          static_cast<double>(candidate.rank_bytes) / (1 << 20),
                          candidate.split.name);
  }
  return text;
}

}  // namespace hetero
