#include "hetero/trainer/report/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/system_error.h"

namespace hetero {
namespace {

constexpr int kBarColumns = 20;
constexpr int kUnknownTerminalColumns = 80;
constexpr std::string_view kSeparator = " | ";

int TerminalColumns(int descriptor) {
  winsize size{};
  const bool known = ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : kUnknownTerminalColumns;
}

std::string Bar(double fraction) {
  const int filled = static_cast<int>(fraction * kBarColumns);
  std::string bar(filled, '=');
  if (filled < kBarColumns) bar += '>';
  bar.resize(kBarColumns, ' ');
  return absl::StrCat("[", bar, "]");
}

// Returns the errno of a write that failed, or 0.
int WriteAll(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return errno;
    if (written > 0) bytes.remove_prefix(written);
  }
  return 0;
}

// Two units are enough for a person: "2d3h", "1h5m", "1m28s", "9s".
std::string Rough(absl::Duration duration) {
  const int64_t seconds = std::llround(absl::ToDoubleSeconds(duration));
  if (seconds >= 86400) return absl::StrFormat("%dd%dh", seconds / 86400, seconds / 3600 % 24);
  if (seconds >= 3600) return absl::StrFormat("%dh%dm", seconds / 3600, seconds / 60 % 60);
  if (seconds >= 60) return absl::StrFormat("%dm%ds", seconds / 60, seconds % 60);
  return absl::StrFormat("%ds", seconds);
}

}  // namespace

std::string FormatNumber(const absl::FormatSpec<double>& format, double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return absl::StrFormat(format, value);
}

std::string TrainingLine(const TrainingLineContext& context, const StepMetrics& last,
                         const IntervalAverages& averages) {
  std::string line =
      absl::StrCat(" [", absl::FormatTime("%Y-%m-%d %H:%M:%E6S", context.now, context.zone), "]",
                   absl::StrFormat(" iteration %8d/%8d |", last.iteration, context.num_iterations),
                   absl::StrFormat(" consumed samples: %12d |", last.consumed_samples));
  if (last.passed_over_samples > 0) {
    absl::StrAppendFormat(&line, " skipped samples: %12d |", last.passed_over_samples);
  }
  absl::StrAppendFormat(&line, " elapsed time per iteration (ms): %.1f |",
                        averages.seconds_per_iteration * 1e3);
  if (context.throughput.has_value()) {
    absl::StrAppendFormat(&line,
                          " throughput per GPU (TFLOP/s/GPU): %.1f | of all GPUs: %.1f |"
                          " tokens per second per GPU: %.0f |",
                          context.throughput->owner_tflops, context.throughput->all_tflops,
                          context.throughput->tokens);
  }
  if (last.learning_rate.has_value()) {
    absl::StrAppendFormat(&line, " learning rate: %.6E |", *last.learning_rate);
  }
  for (const NamedValue& rate : last.module_rates) {
    absl::StrAppendFormat(&line, " %s learning rate: %.6E |", rate.name, rate.value);
  }
  absl::StrAppendFormat(&line, " global batch size: %5d |", last.global_batch_size);
  for (const NamedValue& loss : averages.losses) {
    if (loss.value < 0) continue;
    absl::StrAppend(&line, " ", loss.name, ": ", FormatNumber("%.6E", loss.value), " |");
  }
  // f32 and bf16 need no loss scale; readers of the line expect its field.
  absl::StrAppend(&line, " loss scale: 1.0 |");
  if (last.grad_norm.has_value()) {
    absl::StrAppend(&line, " grad norm: ", FormatNumber("%.3f", *last.grad_norm), " |");
  }
  if (last.num_zeros.has_value()) absl::StrAppend(&line, " num zeros: ", *last.num_zeros, " |");
  if (last.params_norm.has_value()) {
    absl::StrAppend(&line, " params norm: ", FormatNumber("%.3f", *last.params_norm), " |");
  }
  absl::StrAppendFormat(&line, " number of skipped iterations: %3d |", averages.skipped_iterations);
  absl::StrAppendFormat(&line, " number of nan iterations: %3d |", averages.nan_iterations);
  if (last.image_balance.has_value()) {
    absl::StrAppendFormat(&line, " encoder work max/mean: %.3f, by lane: %.3f |",
                          last.image_balance->shared, last.image_balance->by_lane);
  }
  return line;
}

std::string ValidationBlock(std::string_view place, std::span<const NamedValue> values) {
  std::string line = absl::StrCat(" validation loss at ", place, " | ");
  for (const NamedValue& value : values) {
    absl::StrAppend(&line, value.name, " value: ", FormatNumber("%.6E", value.value), " | ");
    if (value.name.ends_with("loss")) {
      absl::StrAppend(&line, value.name, " PPL: ", FormatNumber("%.6E", Perplexity(value.value)),
                      " | ");
    }
  }
  if (values.empty()) absl::StrAppend(&line, "no token had a loss | ");
  const std::string dashes(line.size() + 1, '-');
  return absl::StrCat(dashes, "\n", line, "\n", dashes);
}

std::string ResultLine(int64_t steps, absl::Duration elapsed, std::span<const NamedValue> values) {
  std::string line =
      absl::StrFormat("RESULT steps=%d seconds=%.3f", steps, absl::ToDoubleSeconds(elapsed));
  for (const NamedValue& value : values) {
    std::string name = value.name;
    std::ranges::replace_if(
        name, [](char c) { return !absl::ascii_isalnum(c); }, '_');
    absl::StrAppend(&line, " ", name, "=", FormatNumber("%.6g", value.value));
  }
  return line;
}

std::string ProgressLine(const ProgressState& state, absl::Time now, int max_columns) {
  const double seconds = absl::ToDoubleSeconds(now - state.start);
  const double rate = seconds > 0 ? (state.done - state.before) / seconds : 0;
  std::string head = absl::StrCat(state.what, " ", state.done);
  std::string bar;
  std::string tail;
  if (state.total > 0) {
    const double fraction = std::clamp(static_cast<double>(state.done) / state.total, 0.0, 1.0);
    absl::StrAppend(&head, "/", state.total);
    bar = absl::StrCat(" ", Bar(fraction));
    tail = absl::StrFormat(" %3d%%", static_cast<int>(fraction * 100));
  }
  if (!state.detail.empty()) absl::StrAppend(&tail, kSeparator, state.detail);
  if (rate > 0) {
    absl::StrAppendFormat(&tail, "%s%.3g/s", kSeparator, rate);
    if (state.total > state.done) {
      absl::StrAppend(&tail, kSeparator, "ETA ",
                      Rough(absl::Seconds((state.total - state.done) / rate)));
    }
  }
  std::string line = absl::StrCat(head, bar, tail);
  const size_t columns = std::max(0, max_columns);
  if (line.size() > columns) line = absl::StrCat(head, tail);
  while (line.size() > columns && absl::StrContains(line, kSeparator)) {
    line.resize(line.rfind(kSeparator));
  }
  if (line.size() > columns) line.resize(columns);
  return line;
}

Console::Console(int descriptor) : descriptor_(descriptor), is_terminal_(isatty(descriptor) == 1) {}

Console::~Console() {
  EndProgress();
  absl::MutexLock lock(&mutex_);
  if (log_ >= 0) close(log_);
}

void Console::Write(std::string_view bytes) {
  const int error = descriptor_ < 0 ? 0 : WriteAll(descriptor_, bytes);
  if (error != 0 && error != EPIPE) {
    status_.Update(SystemError(error, "standard output cannot be written"));
  }
}

absl::Status Console::KeepLog(const std::filesystem::path& path) {
  const int log = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) {
    return SystemError(errno, absl::StrCat("cannot create file ", path.native()));
  }
  absl::MutexLock lock(&mutex_);
  log_path_ = path.native();
  log_ = log;
  WriteToLog(before_log_);
  before_log_.clear();
  return absl::OkStatus();
}

void Console::Log(std::string_view text) {
  absl::MutexLock lock(&mutex_);
  WriteToLog(absl::StrCat(text, "\n"));
}

void Console::WriteToLog(std::string_view bytes) {
  if (log_ < 0 || !log_status_.ok()) return;
  if (const int error = WriteAll(log_, bytes); error != 0) {
    log_status_ = SystemError(error, absl::StrCat("cannot write file ", log_path_));
  }
}

absl::Status Console::log_status() const {
  absl::MutexLock lock(&mutex_);
  return log_status_;
}

absl::Status Console::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

std::string Console::Redraw(std::string_view line) {
  const size_t left_over = std::max(progress_.size(), line.size()) - line.size();
  return absl::StrCat("\r", line, std::string(left_over, ' '), std::string(left_over, '\b'));
}

void Console::Print(std::string_view text) {
  absl::MutexLock lock(&mutex_);
  if (log_ < 0) {
    absl::StrAppend(&before_log_, text, "\n");
  } else {
    WriteToLog(absl::StrCat(text, "\n"));
  }
  if (progress_.empty()) {
    Write(absl::StrCat(text, "\n"));
  } else {
    Write(absl::StrCat(Redraw(""), text, "\n", progress_));
  }
}

void Console::Progress(const ProgressState& state, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  const bool complete = state.total > 0 && state.done >= state.total;
  if (!is_terminal_) {
    // The first line comes an interval later.
    if (!last_progress_.has_value()) last_progress_ = now;
    if (!complete && now - *last_progress_ < kPlainProgressInterval) return;
    last_progress_ = now;
    Write(absl::StrCat(ProgressLine(state, now, kUnknownTerminalColumns), "\n"));
    return;
  }
  if (!complete && last_progress_.has_value() && now - *last_progress_ < kRedrawInterval) return;
  last_progress_ = now;
  // In the last column some terminals wrap at once.
  std::string line = ProgressLine(state, now, TerminalColumns(descriptor_) - 1);
  Write(Redraw(line));
  progress_ = std::move(line);
}

void Console::EndProgress() {
  absl::MutexLock lock(&mutex_);
  if (!progress_.empty()) Write("\n");
  progress_.clear();
  last_progress_.reset();
}

}  // namespace hetero
