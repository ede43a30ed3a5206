#ifndef HETERO_TRAINER_REPORT_STEP_TALLY_H_
#define HETERO_TRAINER_REPORT_STEP_TALLY_H_

// What became of the steps of a run, and what that says about the run.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/optim/optimizer.h"

namespace hetero {

// Every rank keeps one; all agree, as all know the same of every step.
class StepTally {
 public:
  // `loss_sum`: over the tokens of the step. `non_finite_parameter`: of StepReport.
  void Add(StepOutcome outcome, double loss_sum, std::string_view non_finite_parameter = "");

  // A step that was passed over: it is skipped, and says nothing of the run.
  void PassOver() { ++num_skipped_; }

  // But for those that were passed over.
  int64_t num_steps() const { return num_steps_; }
  int64_t num_skipped() const { return num_skipped_; }
  // Up to the last step, one after the other: those that were skipped, and those where a gradient
  // or the loss was infinite or NaN. Steps in which no token had a loss are not among the latter
  // and do not end their row.
  int64_t skipped_in_a_row() const { return skipped_in_a_row_; }
  int64_t not_finite_in_a_row() const { return not_finite_in_a_row_; }
  // Of the first step of that row with a gradient that was not finite; empty where there is none.
  const std::string& non_finite_parameter() const { return non_finite_parameter_; }

 private:
  int64_t num_steps_ = 0;
  int64_t num_skipped_ = 0;
  int64_t skipped_in_a_row_ = 0;
  int64_t not_finite_in_a_row_ = 0;
  std::string non_finite_parameter_;
};

// "the last 3 of 4 steps were skipped: a gradient was infinite or NaN"; empty when the last step
// updated the parameters.
std::string DescribeSkipped(const StepTally& tally);

// Whether a run that ended can be called trained. `validation_loss`: of its last evaluation.
// Errors: DivergedError when the last steps or the validation loss are not finite;
// FAILED_PRECONDITION when no token of any step had a loss.
absl::Status JudgeRun(const StepTally& tally, std::optional<double> validation_loss);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_STEP_TALLY_H_
