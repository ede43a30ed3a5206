#include "hetero/ckpt/publish/resume.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/publish/publisher.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

std::string Names(const std::vector<int64_t>& iterations) {
  return absl::StrJoin(iterations, ", ", [](std::string* text, int64_t iteration) {
    absl::StrAppend(text, IterationName(iteration));
  });
}

}  // namespace

absl::StatusOr<ResumePlan> PlanResume(Storage& storage, const fs::path& folder,
                                      const Tracker& tracker, const ResumeOptions& options) {
  ResumePlan plan;
  if (options.iteration.has_value()) {
    plan.candidates.push_back(IterationName(*options.iteration));
    return plan;
  }
  std::vector<int64_t> published;
  if (storage.IsDirectory(folder)) {
    HETERO_ASSIGN_OR_RETURN(published, PublishedIterations(storage, folder));
  }
  if (tracker.kind == Tracker::Kind::kAbsent) {
    if (options.allow_fresh_start && published.empty()) return plan;
    if (options.allow_fresh_start) {
      plan.warnings.push_back(absl::StrCat(folder.native(), ": starting anew: no ", kTrackerName,
                                           ", though there is ", Names(published)));
      return plan;
    }
    return absl::NotFoundError(absl::StrCat(
        folder.native(), ": no ", kTrackerName, " says where to go on",
        published.empty() ? ", and there is no checkpoint"
                          : absl::StrCat("; name the iteration of one of ", Names(published)),
        ", or allow a fresh start"));
  }
  if (tracker.kind == Tracker::Kind::kRelease) {
    plan.candidates.push_back(tracker.CheckpointName());
    return plan;
  }
  int64_t most = std::max<int64_t>(0, options.max_fallbacks) + 1;
  int64_t below = std::numeric_limits<int64_t>::max();
  if (tracker.kind == Tracker::Kind::kIteration) {
    plan.candidates.push_back(tracker.CheckpointName());
    below = tracker.iteration;
  } else {
    const std::string garbled =
        absl::StrCat((folder / kTrackerName).native(), " cannot be read: it holds no iteration");
    --most;
    if (most == 0 || published.empty()) {
      return absl::DataLossError(absl::StrCat(garbled, published.empty()
                                                           ? ", and there is no complete checkpoint"
                                                           : ", and falling back is not allowed"));
    }
    plan.warnings.push_back(absl::StrCat(garbled,
                                         "; falling back to the newest complete checkpoint, ",
                                         IterationName(published.back())));
  }
  for (auto at = published.rbegin(); at != published.rend(); ++at) {
    if (*at >= below) {
      if (*at > below) plan.stale.insert(plan.stale.begin(), *at);
    } else if (std::ssize(plan.candidates) < most) {
      plan.candidates.push_back(IterationName(*at));
    }
  }
  if (!plan.stale.empty()) {
    plan.warnings.push_back(absl::StrCat(folder.native(), ": above the tracker's ",
                                         tracker.CheckpointName(),
                                         " and not used: ", Names(plan.stale)));
  }
  return plan;
}

absl::StatusOr<ResumeReport> ResumeFrom(
    const ResumePlan& plan, absl::FunctionRef<absl::Status(const std::string& name)> load) {
  ResumeReport report = {.warnings = plan.warnings};
  if (plan.candidates.empty()) return report;
  std::vector<std::string> damages;
  for (size_t i = 0; i < plan.candidates.size(); ++i) {
    const absl::Status loaded = load(plan.candidates[i]);
    if (loaded.ok()) {
      report.checkpoint = plan.candidates[i];
      return report;
    }
    if (!absl::IsDataLoss(loaded)) return loaded;
    damages.push_back(absl::StrCat(plan.candidates[i], ": ", loaded.message()));
    if (i + 1 == plan.candidates.size()) break;
    ++report.fallbacks;
    report.warnings.push_back(absl::StrCat("cannot go on from ", damages.back(),
                                           "; falling back to ", plan.candidates[i + 1]));
  }
  return absl::DataLossError(
      absl::StrCat("no checkpoint to go on from: ", absl::StrJoin(damages, "; ")));
}

}  // namespace hetero
