#include "hetero/trainer/report/metrics_writer.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/event/event.pb.h"
#include "hetero/telemetry/event_file_reader.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/step/memory_use.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

// Tag to (step, value).
using Scalars = std::map<std::string, std::pair<int64_t, float>>;

template <typename Fill>
Scalars Written(Fill fill) {
  const std::string folder = ::testing::TempDir() + "/metrics";
  std::filesystem::remove_all(folder);
  auto writer = MetricsWriter::Create(folder, /*world_size=*/4);
  EXPECT_THAT(writer, IsOk());
  fill(**writer);
  EXPECT_THAT((*writer)->Close(), IsOk());
  auto events = ReadEventsIn(folder);
  EXPECT_THAT(events, IsOk());
  Scalars scalars;
  for (const TensorBoardEvent& event : *events) {
    for (const auto& value : event.summary().value()) {
      EXPECT_TRUE(scalars.try_emplace(value.tag(), event.step(), value.simple_value()).second)
          << value.tag();
    }
  }
  return scalars;
}

std::string ReadFile(const std::string& name) {
  std::ifstream file(::testing::TempDir() + "/metrics/" + name);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

StepMetrics Step() {
  return {.iteration = 3,
          .consumed_samples = 192,
          .global_batch_size = 64,
          .losses = {{"lm loss", 12, 5}, {"nothing counted loss", 0, 0}}};
}

TEST(MetricsWriterTest, StepTagsAndTheirTwins) {
  StepMetrics step = Step();
  step.learning_rate = 0.5;
  step.module_rates = {{"radio_encoder", 0.25}};
  step.grad_norm = 3;
  step.num_zeros = 7;
  step.params_norm = 11;
  step.passed_over_samples = 64;
  EXPECT_THAT(
      Written([&](MetricsWriter& writer) { writer.WriteStep(step); }),
      UnorderedElementsAre(
          Pair("learning-rate", Pair(3, 0.5f)), Pair("learning-rate vs samples", Pair(192, 0.5f)),
          Pair("learning-rate radio_encoder", Pair(3, 0.25f)),
          Pair("learning-rate radio_encoder vs samples", Pair(192, 0.25f)),
          Pair("params-norm", Pair(3, 11)), Pair("params-norm vs samples", Pair(192, 11)),
          Pair("skipped-train-samples", Pair(3, 64)), Pair("num-zeros", Pair(3, 7)),
          Pair("num-zeros vs samples", Pair(192, 7)), Pair("batch-size", Pair(3, 64)),
          Pair("batch-size vs samples", Pair(192, 64)), Pair("lm loss", Pair(3, 2.4f)),
          Pair("lm loss vs samples", Pair(192, 2.4f)), Pair("loss-scale", Pair(3, 1)),
          Pair("loss-scale vs samples", Pair(192, 1)), Pair("grad-norm", Pair(3, 3)),
          Pair("grad-norm vs samples", Pair(192, 3)), Pair("world-size", Pair(3, 4)),
          Pair("world-size vs samples", Pair(192, 4))));
}

TEST(MetricsWriterTest, AbsentValuesHaveNoTag) {
  EXPECT_THAT(Written([&](MetricsWriter& writer) { writer.WriteStep(Step()); }),
              UnorderedElementsAre(
                  Pair("batch-size", Pair(3, 64)), Pair("batch-size vs samples", Pair(192, 64)),
                  Pair("lm loss", Pair(3, 2.4f)), Pair("lm loss vs samples", Pair(192, 2.4f)),
                  Pair("loss-scale", Pair(3, 1)), Pair("loss-scale vs samples", Pair(192, 1)),
                  Pair("world-size", Pair(3, 4)), Pair("world-size vs samples", Pair(192, 4))));
}

TEST(MetricsWriterTest, NotANumberIsWrittenAsSuch) {
  StepMetrics step = Step();
  step.losses = {{"lm loss", std::nan(""), 5}};
  step.grad_norm = std::nan("");
  const Scalars written = Written([&](MetricsWriter& writer) {
    writer.WriteStep(step);
    writer.WriteEvaluation(3, 192, std::vector<NamedValue>{{"lm loss", std::nan("")}});
  });
  for (const char* tag : {"lm loss", "grad-norm", "lm loss validation", "lm loss validation ppl"}) {
    ASSERT_TRUE(written.contains(tag)) << tag;
    EXPECT_TRUE(std::isnan(written.at(tag).second)) << tag;
  }
}

TEST(MetricsWriterTest, IntervalHasBothIterationTimes) {
  EXPECT_THAT(Written([&](MetricsWriter& writer) {
                writer.WriteInterval(3, {.seconds_per_iteration = 0.25});
              }),
              UnorderedElementsAre(Pair("iteration-time", Pair(3, 0.25f)),
                                   Pair("iteration-time-ms", Pair(3, 250))));
}

TEST(MetricsWriterTest, ThroughputIsThatOfAGpuAndOfAModule) {
  const IntervalAverages averages = {.seconds_per_iteration = 0.5,
                                     .tokens = 8192,
                                     .flops = {{"radio_encoder", 4e12}, {"language", 12e12}}};
  EXPECT_THAT(Written([&](MetricsWriter& writer) {
                writer.WriteInterval(3, averages, ThroughputOf(averages, "language", 3, 4));
              }),
              UnorderedElementsAre(
                  Pair("iteration-time", Pair(3, 0.5f)), Pair("iteration-time-ms", Pair(3, 500)),
                  Pair("throughput", Pair(3, 4)), Pair("throughput-all-gpus", Pair(3, 4)),
                  Pair("tokens-per-second-per-gpu", Pair(3, 2048)),
                  Pair("tflops radio_encoder", Pair(3, 4)), Pair("tflops language", Pair(3, 12))));
}

TEST(MetricsWriterTest, MemoryIsToldByOwnerWithoutTwins) {
  StepMetrics step = {.iteration = 3, .consumed_samples = 192, .global_batch_size = 64};
  step.memory = MemoryUse{.used_bytes = 512, .most_used_bytes = 768};
  step.memory->taken.Add(MemoryLabel::kWeights, 256);
  step.memory->taken.Add(MemoryLabel::kMainGradients, 1024);
  step.memory->taken.Add(MemoryLabel::kHostStaging, 2048);
  Scalars written = Written([&](MetricsWriter& writer) { writer.WriteStep(step); });
  std::erase_if(written, [](const auto& scalar) { return !scalar.first.starts_with("mem-"); });
  EXPECT_THAT(written, UnorderedElementsAre(Pair("mem-reserved-bytes", Pair(3, 1280)),
                                            Pair("mem-allocated-bytes", Pair(3, 512)),
                                            Pair("mem-max-allocated-bytes", Pair(3, 768)),
                                            Pair("mem-weights-bytes", Pair(3, 256)),
                                            Pair("mem-host-staging-bytes", Pair(3, 2048)),
                                            Pair("mem-main-gradients-bytes", Pair(3, 1024))));
}

TEST(MetricsWriterTest, TimersAreSecondsForPrometheus) {
  const std::vector<NamedValue> timers = {{"optimizer-time", 0.5},
                                          {"optimizer-time language", 0.25}};
  EXPECT_THAT(Written([&](MetricsWriter& writer) { writer.WriteTimers(3, timers); }),
              UnorderedElementsAre(Pair("optimizer-time", Pair(3, 0.5f)),
                                   Pair("optimizer-time language", Pair(3, 0.25f))));
  const std::string text = ReadFile("metrics.prom");
  EXPECT_THAT(text, HasSubstr("\nhetero_optimizer_seconds 0.5\n"));
  EXPECT_THAT(text, HasSubstr("\nhetero_optimizer_seconds_language 0.25\n"));
}

TEST(MetricsWriterTest, EvaluationTags) {
  EXPECT_THAT(
      Written([&](MetricsWriter& writer) {
        writer.WriteEvaluation(200, 12800,
                               std::vector<NamedValue>{{"lm loss", 0}, {"caption accuracy", 0.5}});
      }),
      UnorderedElementsAre(Pair("lm loss validation", Pair(200, 0)),
                           Pair("lm loss validation vs samples", Pair(12800, 0)),
                           Pair("lm loss validation ppl", Pair(200, 1)),
                           Pair("lm loss validation ppl vs samples", Pair(12800, 1)),
                           Pair("caption accuracy validation", Pair(200, 0.5f)),
                           Pair("caption accuracy validation vs samples", Pair(12800, 0.5f))));
}

TEST(MetricsWriterTest, LinesOfJsonSayTheSame) {
  const absl::Time now = absl::FromUnixSeconds(1700000000);
  StepMetrics step = Step();
  step.grad_norm = std::nan("");
  step.skipped = true;
  Written([&](MetricsWriter& writer) {
    writer.WriteStep(step, now);
    writer.WriteInterval(3, {.seconds_per_iteration = 0.25}, {}, now);
    writer.WriteEvaluation(3, 192, std::vector<NamedValue>{{"lm loss", 0}}, now);
  });
  EXPECT_EQ(ReadFile("metrics.jsonl"),
            R"({"batch-size":64.0,"consumed_samples":192,"grad-norm":null,"iteration":3,)"
            R"("kind":"step","lm loss":2.4,"loss-scale":1.0,"skipped":1.0,"time":1700000000.0,)"
            R"("world-size":4.0})"
            "\n"
            R"({"iteration":3,"iteration-time":0.25,"kind":"interval","time":1700000000.0})"
            "\n"
            R"({"consumed_samples":192,"iteration":3,"kind":"evaluation",)"
            R"("lm loss validation":0.0,"lm loss validation ppl":1.0,"time":1700000000.0})"
            "\n");
}

TEST(MetricsWriterTest, TheLatestValuesAreForPrometheus) {
  Written([&](MetricsWriter& writer) {
    StepMetrics step = Step();
    step.skipped = true;
    writer.WriteStep(step);
    writer.WriteInterval(3, {.seconds_per_iteration = 0.25});
  });
  EXPECT_EQ(ReadFile("metrics.prom"),
            "# TYPE hetero_iterations counter\nhetero_iterations_total 3\n"
            "# TYPE hetero_consumed_samples counter\nhetero_consumed_samples_total 192\n"
            "# TYPE hetero_skipped_iterations counter\n"
            "# HELP hetero_skipped_iterations Since this process started.\n"
            "hetero_skipped_iterations_total 1\n"
            "# TYPE hetero_batch_size gauge\nhetero_batch_size 64\n"
            "# TYPE hetero_iteration_seconds gauge\nhetero_iteration_seconds 0.25\n"
            "# TYPE hetero_lm_loss gauge\nhetero_lm_loss 2.3999999999999999\n"
            "# TYPE hetero_loss_scale gauge\nhetero_loss_scale 1\n"
            "# TYPE hetero_world_size gauge\nhetero_world_size 4\n"
            "# EOF\n");
}

}  // namespace
}  // namespace hetero
