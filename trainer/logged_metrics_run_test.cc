// What whole runs write of memory, times and layers, and that they do so only when asked to.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/event/event.pb.h"
#include "hetero/telemetry/event_file_reader.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

struct Logged {
  RecipeRun run;
  std::map<std::string, std::map<int64_t, double>> scalars;  // by tag and step
  fs::path folder;
};

// Three steps on two ranks, one a module, of which the second logs; the console tells every second.
Logged Train(std::vector<std::string> assignments) {
  assignments.insert(assignments.begin(), {"train_steps=3", "logging.console_interval_steps=2"});
  Logged logged = {.run = RunConfigured(RecipeConfig("mock_vlm_tiny", assignments))};
  for (const std::string_view line : absl::StrSplit(logged.run.output, '\n')) {
    constexpr std::string_view kOutput = "output: ";
    if (line.starts_with(kOutput)) logged.folder = line.substr(kOutput.size());
  }
  const auto events = ReadEventsIn(logged.folder.native());
  EXPECT_THAT(events, IsOk());
  for (const TensorBoardEvent& event : *events) {
    for (const auto& value : event.summary().value()) {
      logged.scalars[value.tag()][event.step()] = value.simple_value();
    }
  }
  return logged;
}

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(LoggedMetricsRunTest, MemoryIsThatOfTheRankThatLogs) {
  const Logged logged = Train({"logging.memory=true"});
  ASSERT_THAT(logged.run.status, IsOk());
  const auto at = [&](const std::string& tag) { return logged.scalars.at(tag).at(3); };
  double sum = 0;
  for (const auto& [tag, values] : logged.scalars) {
    const bool is_total = tag == "mem-reserved-bytes" || absl::StrContains(tag, "allocated");
    const bool is_beside = tag == "mem-host-staging-bytes";
    if (tag.starts_with("mem-") && !is_total && !is_beside) sum += values.at(3);
  }
  // Events hold floats.
  EXPECT_NEAR(at("mem-reserved-bytes"), sum, 1e-6 * sum);
  EXPECT_GT(at("mem-weights-bytes"), 0);
  EXPECT_GT(at("mem-main-gradients-bytes"), 0);
  EXPECT_LE(at("mem-allocated-bytes"), at("mem-max-allocated-bytes"));
  EXPECT_LE(at("mem-max-allocated-bytes"), at("mem-reserved-bytes"));
  EXPECT_GT(at("mem-allocated-bytes"), at("mem-weights-bytes"));
  // Nothing is allocated after the first step.
  EXPECT_EQ(at("mem-reserved-bytes"), logged.scalars.at("mem-reserved-bytes").at(1));
  EXPECT_THAT(ReadFile(logged.folder / "metrics.jsonl"), HasSubstr("\"mem-weights-bytes\":"));
  EXPECT_THAT(ReadFile(logged.folder / "metrics.prom"), HasSubstr("\nhetero_mem_weights_bytes "));
}

TEST(LoggedMetricsRunTest, TimersOfAnIntervalAreThoseOfBothModules) {
  const Logged logged = Train({"logging.timers=true"});
  ASSERT_THAT(logged.run.status, IsOk());
  const auto at = [&](const std::string& tag) { return logged.scalars.at(tag).at(2); };
  for (const char* module : {"radio_encoder", "language"}) {
    for (const char* part : {"forward-compute", "backward-compute", "batch-generator"}) {
      const std::string tag = absl::StrCat(part, "-time");
      const double of_module = at(absl::StrCat(tag, " ", module));
      EXPECT_GT(of_module, 0) << tag;
      EXPECT_GE(at(tag), of_module) << tag;  // of the rank where it is longest
    }
  }
  EXPECT_GT(at("forward-recv-time language"), 0);
  EXPECT_GT(at("backward-recv-time radio_encoder"), 0);
  EXPECT_THAT(logged.scalars, Not(Contains(Key("backward-recv-time language"))));
  EXPECT_GT(at("optimizer-time"), 0);
  // The parts of a step are not longer than the step.
  EXPECT_GE(at("iteration-time"), at("forward-backward-time"));
  EXPECT_GE(at("forward-backward-time"), at("backward-compute-time"));
  EXPECT_FALSE(logged.scalars.at("optimizer-time").contains(3));
  EXPECT_THAT(ReadFile(logged.folder / "metrics.jsonl"), HasSubstr("\"kind\":\"timers\""));
  EXPECT_THAT(ReadFile(logged.folder / "metrics.prom"),
              HasSubstr("\nhetero_forward_compute_seconds_language "));
}

// Of an interval a module's ranks are busy or wait, and the model waits for its encoder.
TEST(LoggedMetricsRunTest, WaitsAreThoseOfEachModule) {
  const Logged logged = Train({"logging.timers=true", "train_steps=4"});
  ASSERT_THAT(logged.run.status, IsOk());
  for (const int64_t step : {2, 4}) {
    for (const std::string module : {"radio_encoder", "language"}) {
      double sum = 0;
      for (const auto& [tag, values] : logged.scalars) {
        const bool is_wait = absl::StrContains(tag, "wait-time ") || tag.starts_with("busy-time ");
        if (is_wait && tag.ends_with(" " + module) && values.contains(step)) sum += values.at(step);
      }
      // The last steps of an interval end on all ranks at nearly the same time.
      EXPECT_GT(sum, 0.5 * logged.scalars.at("iteration-time").at(step)) << module;
      EXPECT_GT(logged.scalars.at("busy-time " + module).at(step), 0);
    }
    EXPECT_GT(logged.scalars.at("radio_encoder-wait-time language").at(step), 0);
  }
  EXPECT_THAT(logged.scalars, Not(Contains(Key("language-wait-time language"))));
  EXPECT_THAT(ReadFile(logged.folder / "metrics.prom"),
              HasSubstr("\nhetero_busy_seconds_language "));
}

// The loss over all layers is the mean of theirs, in a pipeline too, whose layers count elsewhere.
TEST(LoggedMetricsRunTest, BalanceOfEveryExpertLayer) {
  const std::vector<std::vector<std::string>> layouts = {
      {"logging.expert_layers=true", "model.language.pattern=\"MEE*\""},
      {"logging.expert_layers=true", "model.language.pattern=\"ME|E*\"", "launch=threads:3",
       "language.num_ranks=2", "language.pp=2"}};
  std::map<std::string, std::map<int64_t, double>> of_one;
  for (const std::vector<std::string>& layout : layouts) {
    const Logged logged = Train(layout);
    ASSERT_THAT(logged.run.status, IsOk());
    const auto at = [&](const std::string& tag) { return logged.scalars.at(tag).at(1); };
    const double first = at("moe/seq_load_balancing_loss_layer_1");
    const double second = at("moe/seq_load_balancing_loss_layer_2");
    EXPECT_GT(first, 0.5);
    EXPECT_NE(first, second);
    EXPECT_NEAR(at("seq_load_balancing_loss"), (first + second) / 2, 1e-6 * first);
    EXPECT_THAT(logged.scalars, Not(Contains(Key("moe/seq_load_balancing_loss_layer_0"))));
    EXPECT_THAT(logged.scalars,
                Not(Contains(Key("moe/seq_load_balancing_loss_layer_1 vs samples"))));
    EXPECT_THAT(logged.run.output, Not(HasSubstr("moe/")));
    if (of_one.empty()) of_one = logged.scalars;
    EXPECT_NEAR(first, of_one.at("moe/seq_load_balancing_loss_layer_1").at(1), 1e-5);
    EXPECT_NEAR(second, of_one.at("moe/seq_load_balancing_loss_layer_2").at(1), 1e-5);
  }
}

TEST(LoggedMetricsRunTest, NothingOfItIsToldUnasked) {
  const Logged plain = Train({});
  const Logged asked =
      Train({"logging.memory=true", "logging.timers=true", "logging.expert_layers=true"});
  ASSERT_THAT(plain.run.status, IsOk());
  ASSERT_THAT(asked.run.status, IsOk());
  for (const auto& [tag, values] : plain.scalars) {
    EXPECT_FALSE(tag.starts_with("mem-")) << tag;
    EXPECT_FALSE(absl::StrContains(tag, "-time ")) << tag;
    EXPECT_FALSE(tag.starts_with("moe/")) << tag;
    EXPECT_NE(tag, "optimizer-time");
  }
  // And what is told anyway is the same to the bit.
  for (const char* tag : {"lm loss", "grad-norm", "num-zeros"}) {
    EXPECT_EQ(plain.scalars.at(tag), asked.scalars.at(tag)) << tag;
  }
}

}  // namespace
}  // namespace hetero
