#ifndef HETERO_TRAINER_TIMING_FORECAST_H_
#define HETERO_TRAINER_TIMING_FORECAST_H_

// What a training step of a run takes on a machine, before it runs there.

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/timing/image_histogram.h"
#include "hetero/trainer/timing/machine_table.h"
#include "hetero/trainer/timing/simulation.h"

namespace hetero {

struct ModuleForecast {
  std::string name;
  // Of the time of its ranks, what they wait: for transfers and for peers of collectives.
  double bubble = 0;
  // Operations by definition of its samples, over what its ranks' devices could do in the step.
  // Ranks of a CPU have equal parts of its cores.
  double mfu = 0;
};

// Mean of the ranks that wait, of a step.
struct WaitForecast {
  std::string who;   // "language.0"
  std::string what;  // "radio_encoder.0-language.0 forward"
  double seconds = 0;
};

struct StepForecast {
  double seconds = 0;
  double tokens_per_second = 0;
  std::vector<ModuleForecast> modules;
  std::vector<WaitForecast> waits;   // the longest first
  std::vector<std::string> unknown;  // operations without a row in the table
  std::string samples;               // "the samples of 4 steps"
};

// Of Job::samples where they are set, else of samples in the given shares, else of the largest.
// Errors: INVALID_ARGUMENT when the run is on another kind of device, or in another precision, than
// was measured; those of TimeProgram.
absl::StatusOr<StepForecast> ForecastStep(const Job& job, const MachineTable& machine,
                                          const StopSignals& signals,
                                          std::span<const SampleShare> shares = {});

std::string DescribeForecast(const StepForecast& forecast, const MachineTable& machine);

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_FORECAST_H_
