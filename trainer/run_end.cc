#include "hetero/trainer/run_end.h"

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/trainer/replay/step_walk.h"
#include "hetero/trainer/replay/walk_report.h"
#include "hetero/trainer/report/step_samples.h"
#include "hetero/trainer/report/step_tally.h"

namespace hetero {

absl::Status FinishRun(const std::string& profile, absl::Time start, Reporter& reporter,
                       const StopSignals& signals, Console& console, absl::Status written) {
  written.Update(reporter.Close());
  written.Update(reporter.unsaved());
  if (!profile.empty()) console.Print(profile);
  if (const std::string skipped = DescribeSkipped(reporter.tally()); !skipped.empty()) {
    console.Print(skipped);
  }
  const std::string result =
      ResultLine(reporter.num_steps_done(), absl::Now() - start, reporter.ResultValues());
  console.Print(result);
  written.Update(console.log_status());
  if (const absl::Status printed = console.status(); !printed.ok()) {
    written.Update(printed);
    return absl::Status(written.code(), absl::StrCat(written.message(), "\n", result));
  }
  HETERO_RETURN_IF_ERROR(written);
  if (reporter.stopped() || signals.requested() != 0) {
    return absl::CancelledError(
        absl::StrCat("the run was ended after ", Counted(reporter.num_steps_done(), "step")));
  }
  return JudgeRun(reporter.tally(), reporter.validation_loss());
}

absl::Status TellWalk(const RunOptions& options, const Job& job,
                      const std::vector<RankRecord>& records) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<StepSamples> source,
                          StepSamples::Create(job.samples->train, job.train.batch, NumLanes(job)));
  HETERO_ASSIGN_OR_RETURN(const std::vector<SampleOfStep> samples, source->Of(options.walk.step));
  std::vector<const StepWalk*> walks;
  for (const RankRecord& record : records) walks.push_back(&*record.walk);
  HETERO_ASSIGN_OR_RETURN(const std::string text, DescribeWalk(*job.model, *job.layout, job.train,
                                                               options.walk.step, walks, samples));
  options.walk.tell(text);
  return absl::OkStatus();
}

}  // namespace hetero
