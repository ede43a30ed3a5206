#ifndef HETERO_TRAINER_REPORT_PROGRESS_LOG_H_
#define HETERO_TRAINER_REPORT_PROGRESS_LOG_H_

// How far jobs have come with a folder of checkpoints, in the words and columns of Megatron-LM's
// progress.txt, whose parts are separated by tabs: a line for the start of every job and one for
// every checkpoint that it saved.

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace hetero {

inline constexpr std::string_view kProgressFile = "progress.txt";

// What the lines of earlier jobs say to one of `num_ranks` ranks that goes on from `iteration`.
struct EarlierProgress {
  double flops = 0;  // of all steps up to there
  // Of the first job in an unbroken row of as many ranks; unset: this is the first.
  absl::Time start = absl::InfiniteFuture();
  double flops_before = 0;  // at that start
};
EarlierProgress ReadProgress(std::string_view text, int64_t num_ranks, int64_t iteration);

// Used by one thread.
class ProgressLog {
 public:
  struct Options {
    std::filesystem::path folder;  // of checkpoints
    std::string job;               // what tells it from others
    int64_t num_ranks = 0;         // of the run
    int64_t counted_ranks = 0;     // of the module whose operations are counted
    int64_t sequence_length = 0;
  };
  explicit ProgressLog(Options options) : options_(std::move(options)) {}

  // The job begins at `now` after `iteration` steps of earlier ones, with a checkpoint of the
  // folder `source`, whose log is taken over where this folder has none yet. After none it counts
  // from nothing, and `source` is not looked at.
  void Begin(int64_t iteration, const std::filesystem::path& source, absl::Time now);

  // Step `iteration`, counted from 1, has done so many operations, forward and backward.
  void Step(int64_t iteration, double flops, absl::Time now);

  // The state after `iteration` steps and so many samples was published. Precondition: Begin.
  void Saved(int64_t iteration, int64_t samples);

  // OK, or why the file could not be read or written, naming it.
  const absl::Status& status() const { return status_; }

 private:
  struct Done {
    int64_t iteration = 0;
    double flops = 0;  // of all steps up to it
    absl::Time time;
  };

  void Append(absl::Time now, std::string_view text);
  // Of the log of this folder, which becomes that of `source` where there is none.
  std::string TextOfEarlierJobs(const std::filesystem::path& source);

  const Options options_;
  EarlierProgress earlier_;
  Done begin_;
  std::deque<Done> done_;  // since the checkpoint that was saved last
  absl::Status status_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_PROGRESS_LOG_H_
