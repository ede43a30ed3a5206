#include "hetero/trainer/report/metrics_writer.h"

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/event/event.pb.h"
#include "hetero/telemetry/event_file_reader.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
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
  EXPECT_THAT(
      Written([&](MetricsWriter& writer) { writer.WriteStep(step); }),
      UnorderedElementsAre(
          Pair("learning-rate", Pair(3, 0.5f)), Pair("learning-rate vs samples", Pair(192, 0.5f)),
          Pair("learning-rate radio_encoder", Pair(3, 0.25f)),
          Pair("learning-rate radio_encoder vs samples", Pair(192, 0.25f)),
          Pair("num-zeros", Pair(3, 7)), Pair("num-zeros vs samples", Pair(192, 7)),
          Pair("batch-size", Pair(3, 64)), Pair("batch-size vs samples", Pair(192, 64)),
          Pair("lm loss", Pair(3, 2.4f)), Pair("lm loss vs samples", Pair(192, 2.4f)),
          Pair("loss-scale", Pair(3, 1)), Pair("loss-scale vs samples", Pair(192, 1)),
          Pair("grad-norm", Pair(3, 3)), Pair("grad-norm vs samples", Pair(192, 3)),
          Pair("world-size", Pair(3, 4)), Pair("world-size vs samples", Pair(192, 4))));
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

}  // namespace
}  // namespace hetero
