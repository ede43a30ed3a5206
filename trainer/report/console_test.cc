#include "hetero/trainer/report/console.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixMicros(1700000000'012345);  // 2023-11-14 22:13:20 UTC

StepMetrics Step(int64_t iteration, double loss_sum, double loss_count) {
  StepMetrics step{.iteration = iteration,
                   .consumed_samples = iteration * 64,
                   .global_batch_size = 64,
                   .learning_rate = 1.59e-4,
                   .grad_norm = 3.389};
  step.losses.push_back({"lm loss", loss_sum, loss_count});
  return step;
}

TrainingLineContext Context() {
  return {.now = kNow, .zone = absl::UTCTimeZone(), .num_iterations = 600};
}

TEST(TrainingLineTest, AveragesTwoIterations) {
  MetricsInterval interval;
  interval.Add(Step(1, 7 + 5, 3 + 2), absl::Milliseconds(100));
  const StepMetrics last = Step(2, 30, 10);
  interval.Add(last, absl::Milliseconds(50));
  EXPECT_EQ(TrainingLine(Context(), last, interval.averages()),
            " [2023-11-14 22:13:20.012345] iteration        2/     600 | consumed samples:"
            "          128 | elapsed time per iteration (ms): 75.0 | learning rate: 1.590000E-04 |"
            " global batch size:    64 | lm loss: 2.800000E+00 | loss scale: 1.0 |"
            " grad norm: 3.389 | number of skipped iterations:   0 | number of nan iterations:"
            "   0 |");
}

TEST(TrainingLineTest, ShowsEveryLoss) {
  MetricsInterval interval;
  StepMetrics last = Step(40, 12.19014, 1);
  last.losses.push_back({"seq_load_balancing_loss", 1.0625, 1});
  interval.Add(last, absl::Milliseconds(6200));
  EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
              HasSubstr("| lm loss: 1.219014E+01 | seq_load_balancing_loss: 1.062500E+00 |"));
}

TEST(TrainingLineTest, LeavesOutWhatThereIsNot) {
  MetricsInterval interval;
  StepMetrics last = Step(1, -0.5, 1);  // a negative average is "absent"
  last.learning_rate.reset();
  last.grad_norm.reset();
  interval.Add(last, absl::Milliseconds(10));
  EXPECT_EQ(TrainingLine(Context(), last, interval.averages()),
            " [2023-11-14 22:13:20.012345] iteration        1/     600 | consumed samples:"
            "           64 | elapsed time per iteration (ms): 10.0 | global batch size:    64 |"
            " loss scale: 1.0 | number of skipped iterations:   0 | number of nan iterations:"
            "   0 |");
}

TEST(MetricsIntervalTest, SkippedIterationsCountTimeButNoLoss) {
  MetricsInterval interval;
  interval.Add(Step(1, 8, 2), absl::Seconds(1));
  for (const double loss : std::vector<double>{NAN, INFINITY, 1e9}) {
    StepMetrics skipped = Step(2, loss, 1);
    skipped.skipped = true;
    interval.Add(skipped, absl::Seconds(2));
  }
  interval.Add(Step(5, 0, 0), absl::Seconds(3));  // no loss tokens
  const IntervalAverages averages = interval.averages();
  EXPECT_DOUBLE_EQ(averages.seconds_per_iteration, 2);
  EXPECT_EQ(averages.skipped_iterations, 3);
  EXPECT_EQ(averages.nan_iterations, 2);
  EXPECT_THAT(averages.losses, ::testing::ElementsAre(NamedValue{"lm loss", 4}));

  interval.Reset();
  interval.Add(Step(6, 3, 1), absl::Seconds(1));
  EXPECT_THAT(interval.averages().losses, ::testing::ElementsAre(NamedValue{"lm loss", 3}));
}

// A NaN of either sign: what 0 / 0 gives has its sign bit set.
const double kNaNs[] = {std::nan(""), -std::nan("")};

TEST(TrainingLineTest, NotANumberReadsNan) {
  for (const double nan : kNaNs) {
    MetricsInterval interval;
    StepMetrics last = Step(1, nan, 3);
    last.skipped = true;
    last.grad_norm = nan;
    interval.Add(last, absl::Milliseconds(10));
    EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
                HasSubstr("| lm loss: nan | loss scale: 1.0 | grad norm: nan | number of skipped "
                          "iterations:   1 | number of nan iterations:   1 |"));
    last.grad_norm = std::numeric_limits<double>::infinity();
    EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
                HasSubstr("| grad norm: inf |"));
  }
}

TEST(MetricsIntervalTest, WhereNothingWasUpdatedTheLossIsThatOfTheSkippedIterations) {
  MetricsInterval interval;
  for (const double loss : {4.0, 8.0}) {
    StepMetrics skipped = Step(1, loss, 1);
    skipped.skipped = true;
    interval.Add(skipped, absl::Seconds(1));
  }
  EXPECT_THAT(interval.averages().losses, ::testing::ElementsAre(NamedValue{"lm loss", 6}));
  interval.Add(Step(2, 3, 1), absl::Seconds(1));
  EXPECT_THAT(interval.averages().losses, ::testing::ElementsAre(NamedValue{"lm loss", 3}));
}

TEST(ValidationBlockTest, NotANumberReadsNan) {
  for (const double nan : kNaNs) {
    EXPECT_THAT(ValidationBlock("iteration 1", std::vector<NamedValue>{{"lm loss", nan}}),
                HasSubstr("| lm loss value: nan | lm loss PPL: nan |"));
    EXPECT_EQ(ResultLine(1, absl::Seconds(1), std::vector<NamedValue>{{"lm loss", nan}}),
              "RESULT steps=1 seconds=1.000 lm_loss=nan");
  }
  EXPECT_THAT(ValidationBlock(
                  "iteration 1",
                  std::vector<NamedValue>{{"lm loss", std::numeric_limits<double>::infinity()}}),
              HasSubstr("| lm loss value: inf | lm loss PPL: inf |"));
}

TEST(ValidationBlockTest, SaysThatNothingHadALoss) {
  EXPECT_THAT(ValidationBlock("iteration 1", {}),
              HasSubstr("\n validation loss at iteration 1 | no token had a loss | \n"));
}

TEST(ValidationBlockTest, FramesLossAndPerplexity) {
  const std::string line =
      " validation loss at iteration 200 | lm loss value: 2.000000E+00 | "
      "lm loss PPL: 7.389056E+00 | caption accuracy value: 9.125000E-01 | ";
  const std::string dashes(line.size() + 1, '-');
  EXPECT_EQ(ValidationBlock("iteration 200",
                            std::vector<NamedValue>{{"lm loss", 2}, {"caption accuracy", 0.9125}}),
            dashes + "\n" + line + "\n" + dashes);
  EXPECT_THAT(ValidationBlock("iteration 1", std::vector<NamedValue>{{"lm loss", 1000}}),
              HasSubstr("lm loss PPL: 4.851652E+08 |"));
}

TEST(ResultLineTest, NamesAreIdentifiers) {
  EXPECT_EQ(ResultLine(600, absl::Milliseconds(95125),
                       std::vector<NamedValue>{{"lm loss", 0.03125}, {"caption accuracy", 1}}),
            "RESULT steps=600 seconds=95.125 lm_loss=0.03125 caption_accuracy=1");
}

TEST(ProgressLineTest, ShowsRateAndTimeLeft) {
  const ProgressState state{
      .what = "train", .done = 150, .total = 600, .start = kNow, .detail = "lm loss 0.43"};
  EXPECT_EQ(ProgressLine(state, kNow + absl::Seconds(10), 200),
            "train 150/600 [=====>              ]  25% | lm loss 0.43 | 15/s | ETA 30s");
  EXPECT_EQ(ProgressLine(state, kNow, 200),
            "train 150/600 [=====>              ]  25% | lm loss 0.43");
}

TEST(ProgressLineTest, NeverWiderThanAsked) {
  ProgressState state{.what = "prepare", .total = 70000, .start = kNow, .detail = "train shard 3"};
  for (const int64_t done : {0, 1, 35000, 69999, 70000}) {
    state.done = done;
    for (int columns = 0; columns < 120; ++columns) {
      EXPECT_LE(ProgressLine(state, kNow + absl::Seconds(7), columns).size(), columns);
    }
  }
  state.done = 35000;
  EXPECT_EQ(ProgressLine(state, kNow + absl::Hours(30), 58),
            "prepare 35000/70000  50% | train shard 3 | 0.324/s");
}

class Reader {
 public:
  explicit Reader(int descriptor) : descriptor_(descriptor) {
    fcntl(descriptor, F_SETFL, O_NONBLOCK);
  }
  std::string ReadAll() {
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = read(descriptor_, buffer, sizeof(buffer))) > 0;) text.append(buffer, n);
    return text;
  }

 private:
  int descriptor_;
};

TEST(ConsoleTest, PipeGetsPlainLinesNowAndThen) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Reader reader(ends[0]);
  Console console(ends[1]);
  EXPECT_FALSE(console.is_terminal());
  ProgressState state{.what = "train", .total = 300, .start = kNow};
  for (int second = 0; second < 30; ++second) {
    state.done = 10 * second;
    console.Progress(state, kNow + absl::Seconds(second));
  }
  console.Print("a line");
  state.done = 300;
  console.Progress(state, kNow + absl::Seconds(30));
  const std::string text = reader.ReadAll();
  EXPECT_THAT(text, Not(HasSubstr("\r")));
  EXPECT_EQ(text,
            "train 100/300 [======>             ]  33% | 10/s | ETA 20s\n"
            "train 200/300 [=============>      ]  66% | 10/s | ETA 10s\n"
            "a line\n"
            "train 300/300 [====================] 100% | 10/s\n");
  close(ends[0]);
  close(ends[1]);
}

TEST(ConsoleTest, TheLogHasEveryLineAndNoProgress) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "console.log";
  std::filesystem::remove(path);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    Console console(ends[1]);
    console.Print("before");
    ASSERT_TRUE(console.KeepLog(path).ok());
    console.Print("two\nlines");
    ProgressState state{.what = "train", .done = 1, .total = 1, .start = kNow};
    console.Progress(state, kNow);
    console.Log("an error");
    console.Print("after");
    EXPECT_TRUE(console.log_status().ok());
  }
  std::stringstream log;
  log << std::ifstream(path).rdbuf();
  EXPECT_EQ(log.str(), "before\ntwo\nlines\nan error\nafter\n");
  EXPECT_THAT(Reader(ends[0]).ReadAll(), Not(HasSubstr("an error")));
  Console other(ends[1]);
  EXPECT_THAT(std::string(other.KeepLog(path).message()), HasSubstr(path.native()));
  close(ends[0]);
  close(ends[1]);
}

TEST(ConsoleTest, ALogThatCannotBeWrittenIsReportedAndStopsNothing) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "full.log";
  std::filesystem::remove(path);
  Console console(ends[1]);
  ASSERT_TRUE(console.KeepLog(path).ok());
  rlimit previous;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &previous), 0);
  const auto ignored = signal(SIGXFSZ, SIG_IGN);
  const rlimit none = {.rlim_cur = 0, .rlim_max = previous.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  console.Print("a line");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &previous), 0);
  signal(SIGXFSZ, ignored);
  EXPECT_EQ(Reader(ends[0]).ReadAll(), "a line\n");
  EXPECT_THAT(std::string(console.log_status().message()), HasSubstr(path.native()));
  close(ends[0]);
  close(ends[1]);
}

// What a terminal shows: carriage returns and backspaces move, letters overwrite.
std::vector<std::string> Screen(const std::string& bytes, size_t columns) {
  std::vector<std::string> lines(1);
  size_t column = 0;
  for (const char c : bytes) {
    if (c == '\r') {
      column = 0;
    } else if (c == '\b') {
      --column;
    } else if (c == '\n') {
      lines.emplace_back();
      column = 0;
    } else {
      EXPECT_LT(column, columns);
      lines.back().resize(std::max(lines.back().size(), column + 1), ' ');
      lines.back()[column++] = c;
    }
  }
  for (std::string& line : lines) line.resize(line.find_last_not_of(' ') + 1);
  return lines;
}

TEST(ConsoleTest, TerminalRedrawsOneNarrowLine) {
  int master;
  int terminal;
  winsize size{.ws_row = 24, .ws_col = 40, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(openpty(&master, &terminal, nullptr, nullptr, &size), 0);
  termios raw;
  tcgetattr(terminal, &raw);
  raw.c_oflag &= ~OPOST;
  tcsetattr(terminal, TCSANOW, &raw);
  Reader reader(master);
  {
    Console console(terminal);
    EXPECT_TRUE(console.is_terminal());
    ProgressState state{.what = "train", .total = 1000, .start = kNow, .detail = "lm loss 12.25"};
    for (int i = 0; i < 200; ++i) {  // two seconds
      state.done = i;
      console.Progress(state, kNow + absl::Milliseconds(10 * i));
    }
    const std::string drawn = reader.ReadAll();
    EXPECT_EQ(std::ranges::count(drawn, '\r'), 20);
    EXPECT_THAT(Screen(drawn, 40), ::testing::ElementsAre("train 190/1000  19% | lm loss 12.25"));

    console.Print("short");
    state.done = 500;
    state.detail = "";
    console.Progress(state, kNow + absl::Seconds(5));
    EXPECT_THAT(Screen(drawn + reader.ReadAll(), 40),
                ::testing::ElementsAre("short", "train 500/1000  50% | 100/s | ETA 5s"));
  }
  EXPECT_EQ(reader.ReadAll(), "\n");
  close(master);
  close(terminal);
}

}  // namespace
}  // namespace hetero
