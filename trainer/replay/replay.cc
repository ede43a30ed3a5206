#include "hetero/trainer/replay/replay.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/replay/capsule.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/run_options.h"
#include "hetero/trainer/version/version.h"

namespace hetero {
namespace {

// "iteration 7: lm loss is 0x1.8p+1 in the capsule, 0x1.9p+1 now"; nothing where all are equal.
std::optional<std::string> FirstDifference(const std::vector<SeenStep>& before,
                                           const std::vector<SeenStep>& now) {
  for (const SeenStep& step : before) {
    const auto again = std::ranges::find(now, step.iteration, &SeenStep::iteration);
    if (again == now.end()) return absl::StrCat("iteration ", step.iteration, " was not reached");
    for (size_t i = 0; i < step.numbers.size(); ++i) {
      const auto& [name, text] = step.numbers[i];
      const std::string_view other = i < again->numbers.size() && again->numbers[i].first == name
                                         ? std::string_view(again->numbers[i].second)
                                         : "not there";
      if (other == text) continue;
      return absl::StrCat("iteration ", step.iteration, ": ", name, " is ", text,
                          " in the capsule, ", other, " now");
    }
  }
  return std::nullopt;
}

absl::Status NotReproduced(std::string_view what) {
  return WithExitCode(
      absl::FailedPreconditionError(absl::StrCat("the capsule is not reproduced: ", what)),
      ExitCode::kNotReproduced);
}

std::string Beginning(const Capsule& capsule) {
  return capsule.checkpoint.empty() ? absl::StrCat("the weights of seed ", capsule.config.seed())
                                    : capsule.checkpoint;
}

}  // namespace

absl::Status Replay(const ReplayOptions& options, const ModelRegistry& models, Console& console,
                    const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(const Capsule capsule, ReadCapsule(options.capsule));
  RunOptions run{.config = ReplayConfig(capsule, options.capsule),
                 .working_folder = capsule.working_folder,
                 .program = ProgramName(),
                 .on_stuck = options.on_stuck};
  console.Print(absl::StrCat("replays iteration ", capsule.iteration, " (samples ",
                             capsule.first_sample, " to ",
                             capsule.first_sample + capsule.num_samples - 1, ") from ",
                             Beginning(capsule), ": ", capsule.cause));
  if (capsule.program != run.program) {
    console.Print(absl::StrCat("the capsule is of ", capsule.program, ", this is ", run.program));
  }
  Console silent(-1);
  std::vector<SeenStep> now;
  run.on_step = [&now](const StepMetrics& step) { now.push_back(SeenOf(step)); };
  const absl::Status ended = Run(run, models, silent, signals);
  if (signals.requested() != 0) return ended;
  const bool failed = !ended.ok() && !absl::IsCancelled(ended);
  if (failed && now.empty() && !capsule.seen.empty()) {
    return Annotate(ended, absl::StrCat("the capsule does not fit this program, ", run.program,
                                        ", or this machine: no step of it ran"));
  }
  if (const auto difference = FirstDifference(capsule.seen, now); difference.has_value()) {
    return NotReproduced(failed
                             ? absl::StrCat(*difference, "; the run ended with: ", ended.message())
                             : *difference);
  }
  const std::string steps = Counted(std::ssize(capsule.seen), "step");
  if (!capsule.failure.empty()) {
    if (ended.message() != capsule.failure) {
      return NotReproduced(absl::StrCat(
          "the run had failed with: ", capsule.failure, "; now ",
          failed ? absl::StrCat("it fails with: ", ended.message()) : "it does not fail"));
    }
    console.Print(absl::StrCat("reproduced: ", steps, " to the bit, then the failure"));
    return absl::OkStatus();
  }
  console.Print(absl::StrCat("reproduced: ", steps, " to the bit"));
  run.on_step = nullptr;
  run.walk = {.step = capsule.iteration - 1,
              .tell = [&console](std::string_view text) { console.Print(text); }};
  return Run(run, models, silent, signals);
}

}  // namespace hetero
