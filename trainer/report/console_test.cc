#include "hetero/trainer/report/console.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1700000000);

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
