#ifndef HETERO_TRAINER_REPORT_CONSOLE_H_
#define HETERO_TRAINER_REPORT_CONSOLE_H_

// What a run prints: the training line in Megatron-LM's format, which scripts already parse, the
// validation block, the last line for machines, and a progress line for people at a terminal.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/trainer/report/metrics.h"

namespace hetero {

// `value` in a format of absl::StrFormat; "nan", "inf" or "-inf" where it is not finite, in lower
// case and without a sign before "nan".
std::string FormatNumber(const absl::FormatSpec<double>& format, double value);

struct TrainingLineContext {
  absl::Time now;
  absl::TimeZone zone = absl::LocalTimeZone();
  int64_t num_iterations = 0;  // of the whole run
  std::optional<Throughput> throughput = {};
};

// One line without its line feed. `last` is the latest iteration of the interval. A loss is printed
// unless its average is below 0, the learning rate only if there is one.
std::string TrainingLine(const TrainingLineContext& context, const StepMetrics& last,
                         const IntervalAverages& averages);

// Three lines, the outer ones dashes, without the last line feed. Values whose names end in "loss"
// are followed by their perplexity. `place` follows "validation loss at", for example "iteration
// 200". Without values the line says that no token had a loss.
std::string ValidationBlock(std::string_view place, std::span<const NamedValue> values);

// "RESULT steps=600 seconds=95.125 lm_loss=0.0312": steps of this process, wall seconds since its
// start, then `values` in order, with every character of a name that is not a letter or a digit
// replaced by an underscore.
std::string ResultLine(int64_t steps, absl::Duration elapsed, std::span<const NamedValue> values);

struct ProgressState {
  std::string_view what;  // "train"
  int64_t before = 0;     // of `done`: before `start`
  int64_t done = 0;
  int64_t total = 0;  // 0 if unknown
  absl::Time start;
  std::string_view detail;  // "lm loss 0.43", ASCII
};

// "train 150/600 [=====>              ]  25% | lm loss 0.43 | 5.1/s | ETA 1m28s", shortened to at
// most `max_columns`: first the bar goes, then parts from the end.
std::string ProgressLine(const ProgressState& state, absl::Time now, int max_columns);

// Thread-safe. Printing never fails: what could not be written is told by status(). A pipe that its
// reader closed is no error, who left wanted no more; the process ignores SIGPIPE.
class Console {
 public:
  // Writes to `descriptor`, which stays the caller's; -1: to nobody.
  explicit Console(int descriptor);
  ~Console();  // ends an unfinished progress line

  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // Prints complete lines; a progress line moves below them. `text` may hold line feeds and needs
  // none at its end.
  void Print(std::string_view text);

  // What Print has printed and will print is also written to a new file at `path`; progress lines
  // are not.
  // Errors: those of the file system, naming the path. At most once.
  absl::Status KeepLog(const std::filesystem::path& path);

  // Writes to the log of KeepLog alone, if there is one: what went to people by another way.
  void Log(std::string_view text);

  // On a terminal redraws one line in place, at most ten times a second and narrower than the
  // terminal. Elsewhere prints a plain line, at most one in kPlainProgressInterval. The state with
  // done == total is always shown.
  void Progress(const ProgressState& state, absl::Time now = absl::Now());

  // Leaves the progress line as it stands and continues below it.
  void EndProgress();

  // OK, or the first write error: "standard output cannot be written: No space left on device".
  absl::Status status() const;

  bool is_terminal() const { return is_terminal_; }

  static constexpr absl::Duration kRedrawInterval = absl::Milliseconds(100);
  static constexpr absl::Duration kPlainProgressInterval = absl::Seconds(10);

  // Whether all of the log could be written. Errors: the first one, naming the file.
  absl::Status log_status() const;

 private:
  void Write(std::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteToLog(std::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // "\r", `line`, and blanks over what a longer progress line left.
  std::string Redraw(std::string_view line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int descriptor_;
  const bool is_terminal_;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::string log_path_ ABSL_GUARDED_BY(mutex_);
  int log_ ABSL_GUARDED_BY(mutex_) = -1;            // the console's own
  std::string before_log_ ABSL_GUARDED_BY(mutex_);  // printed so far, without a log
  absl::Status log_status_ ABSL_GUARDED_BY(mutex_);
  std::string progress_ ABSL_GUARDED_BY(mutex_);  // on the screen, its cursor at the end
  std::optional<absl::Time> last_progress_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_CONSOLE_H_
