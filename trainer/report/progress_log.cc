#include "hetero/trainer/report/progress_log.h"

#include <system_error>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "hetero/data/file/file.h"

namespace hetero {
namespace {

constexpr char kTime[] = "%Y-%m-%d %H:%M:%S";
constexpr std::string_view kStarting = "Starting job";
constexpr std::string_view kSaved = "Saved checkpoint";

// What stands behind the last ": " of a column, without a unit.
double NumberIn(std::string_view column) {
  const size_t colon = column.rfind(": ");
  double number = 0;
  if (colon != column.npos) {
    const std::string_view rest = column.substr(colon + 2);
    if (!absl::SimpleAtod(rest.substr(0, rest.find(' ')), &number)) return 0;
  }
  return number;
}

double Tflops(double flops, absl::Duration time, int64_t ranks) {
  const double seconds = absl::ToDoubleSeconds(time);
  return seconds > 0 ? flops / seconds * 1e-12 / static_cast<double>(ranks) : 0;
}

}  // namespace

EarlierProgress ReadProgress(std::string_view text, int64_t num_ranks, int64_t iteration) {
  EarlierProgress progress;
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string_view> columns = absl::StrSplit(line, '\t');
    if (columns.size() < 4) continue;
    // Later ones belong to a job that this one does not go on from.
    if (columns[3] == kSaved && columns.size() >= 8 &&
        NumberIn(columns[4]) <= static_cast<double>(iteration)) {
      progress.flops = NumberIn(columns[7]);
    }
    if (NumberIn(columns[2]) != static_cast<double>(num_ranks)) {
      progress.start = absl::InfiniteFuture();
    } else if (columns[3] == kStarting && progress.start == absl::InfiniteFuture()) {
      std::string error;
      if (!absl::ParseTime(kTime, columns[0], absl::LocalTimeZone(), &progress.start, &error)) {
        progress.start = absl::InfiniteFuture();
      }
      progress.flops_before = progress.flops;
    }
  }
  return progress;
}

void ProgressLog::Append(absl::Time now, std::string_view text) {
  status_.Update(data::AppendToFile(
      options_.folder / kProgressFile,
      absl::StrCat(absl::FormatTime(kTime, now, absl::LocalTimeZone()), "\tJob ID: ", options_.job,
                   "\t# GPUs: ", options_.num_ranks, "\t", text, "\n")));
}

std::string ProgressLog::TextOfEarlierJobs(const std::filesystem::path& source) {
  const std::filesystem::path own = options_.folder / kProgressFile;
  absl::StatusOr<std::string> text = data::ReadFile(own);
  if (absl::IsNotFound(text.status())) {
    // Where there was no log, this one begins the count.
    text = data::ReadFile(source / kProgressFile);
    if (absl::IsNotFound(text.status())) return "";
    if (text.ok()) status_.Update(data::WriteFileAtomically(own, *text));
  }
  status_.Update(text.status());
  return text.ok() ? *std::move(text) : "";
}

void ProgressLog::Begin(int64_t iteration, const std::filesystem::path& source, absl::Time now) {
  std::error_code error;  // Append finds the same
  std::filesystem::create_directories(options_.folder, error);
  // A run that begins anew counts from there, whatever else was saved here.
  if (iteration > 0) {
    earlier_ = ReadProgress(TextOfEarlierJobs(source), options_.num_ranks, iteration);
  }
  if (earlier_.start == absl::InfiniteFuture()) {
    earlier_.start = now;
    earlier_.flops_before = earlier_.flops;
  }
  begin_ = {.iteration = iteration, .flops = earlier_.flops, .time = now};
  done_ = {begin_};
  Append(now, kStarting);
}

void ProgressLog::Step(int64_t iteration, double flops, absl::Time now) {
  done_.push_back({.iteration = iteration, .flops = done_.back().flops + flops, .time = now});
}

void ProgressLog::Saved(int64_t iteration, int64_t samples) {
  while (done_.size() > 1 && done_.front().iteration < iteration) done_.pop_front();
  const Done& done = done_.front();
  const double job =
      Tflops(done.flops - begin_.flops, done.time - begin_.time, options_.counted_ranks);
  const double all = Tflops(done.flops - earlier_.flops_before, done.time - earlier_.start,
                            options_.counted_ranks);
  const double tokens =
      static_cast<double>(samples) * static_cast<double>(options_.sequence_length);
  Append(done.time,
         absl::StrFormat("%s\tIteration: %d\tJob throughput: %.1f TFLOP/s/GPU\tCumulative "
                         "throughput: %.1f TFLOP/s/GPU\tFloating-point operations: %.6e\tTokens "
                         "(in billions): %.6f",
                         kSaved, iteration, job, all, done.flops, tokens * 1e-9));
}

}  // namespace hetero
