#include "hetero/trainer/report/step_tally.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/trainer/exit_code.h"

namespace hetero {
namespace {

// "the last step", "the last 3 of 4 steps", "all 4 steps".
std::string LastSteps(int64_t count, int64_t num_steps) {
  if (count == 1) return "the last step";
  if (count == num_steps) return absl::StrCat("all ", count, " steps");
  return absl::StrCat("the last ", count, " of ", num_steps, " steps");
}

// " (first of language decoder.final_norm.weight)"
std::string FirstParameter(const StepTally& tally) {
  const std::string& name = tally.non_finite_parameter();
  return name.empty() ? "" : absl::StrCat(" (first of ", name, ")");
}

}  // namespace

void StepTally::Add(StepOutcome outcome, double loss_sum, std::string_view non_finite_parameter) {
  const bool skipped = outcome != StepOutcome::kApplied;
  ++num_steps_;
  num_skipped_ += skipped;
  skipped_in_a_row_ = skipped ? skipped_in_a_row_ + 1 : 0;
  if (outcome == StepOutcome::kNoTokens) return;
  const bool finite = outcome == StepOutcome::kApplied && std::isfinite(loss_sum);
  not_finite_in_a_row_ = finite ? 0 : not_finite_in_a_row_ + 1;
  if (finite) non_finite_parameter_.clear();
  if (non_finite_parameter_.empty()) non_finite_parameter_ = non_finite_parameter;
}

std::string DescribeSkipped(const StepTally& tally) {
  const int64_t skipped = tally.skipped_in_a_row();
  if (skipped == 0) return "";
  const int64_t not_finite = tally.not_finite_in_a_row();
  return absl::StrCat(
      LastSteps(skipped, tally.num_steps()), skipped == 1 ? " was" : " were", " skipped: ",
      not_finite == 0 ? "no token had a loss"
                      : absl::StrCat("a gradient was infinite or NaN", FirstParameter(tally),
                                     not_finite >= skipped ? "" : ", or no token had a loss"));
}

absl::Status JudgeRun(const StepTally& tally, std::optional<double> validation_loss) {
  constexpr std::string_view kAdvice =
      "; a lower schedule.peak, a longer warm-up or a lower optimizer.clip_gradient_norm may help";
  if (const int64_t steps = tally.not_finite_in_a_row(); steps > 0) {
    return DivergedError(
        absl::StrCat("the run diverged: gradients or the loss were infinite or NaN in ", steps,
                     steps == 1 ? " step" : " steps in a row", ", up to the last of ",
                     tally.num_steps(), FirstParameter(tally), kAdvice));
  }
  if (validation_loss.has_value() && !std::isfinite(*validation_loss)) {
    return DivergedError(
        absl::StrCat("the run diverged: its validation loss is infinite or NaN", kAdvice));
  }
  if (tally.num_steps() > 0 && tally.skipped_in_a_row() == tally.num_steps()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "nothing was trained: in ", Counted(tally.num_steps(), "step"), " no token had a loss"));
  }
  return absl::OkStatus();
}

}  // namespace hetero
