#include "hetero/telemetry/chrome_trace.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/spans.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

TEST(ChromeTraceTest, TracksKeepTimesNamesAndDrops) {
  const std::string path = ::testing::TempDir() + "/trace.json";
  SpanBuffer encoder(10);
  encoder.Add("layer \"0\"\n", "forward", 1'700'000'000'000'002'500, 1500);
  SpanBuffer language(1);
  language.Add("bad \xff byte", "data", 1'700'000'000'000'000'000, 7'000'000'000);
  language.Add("too many", "data", 0, 0);
  ASSERT_THAT(WriteChromeTrace(path, std::vector<TraceTrack>{{0, "encoder", 0, "rank 0", &encoder},
                                                             {1, "llm", 4, "rank 4", &language}}),
              IsOk());

  std::ifstream file(path);
  const auto trace = nlohmann::json::parse(file);
  EXPECT_EQ(trace["otherData"]["origin_ns"], "1700000000000000000");
  EXPECT_EQ(trace["otherData"]["dropped_spans"], "1");
  const auto& events = trace["traceEvents"];
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[0]["args"]["name"], "encoder");
  EXPECT_EQ(events[2]["name"], "layer \"0\"\n");
  EXPECT_EQ(events[2]["ts"], 2.5);
  EXPECT_EQ(events[2]["dur"], 1.5);
  EXPECT_EQ(events[4]["args"]["name"], "rank 4");
  EXPECT_EQ(events[5]["name"], "bad \uFFFD byte");
  EXPECT_EQ(events[5]["tid"], 4);
}

TEST(ChromeTraceTest, NestedSpansLieInsideTheirParents) {
  SpanBuffer buffer(10);
  {
    Span step(&buffer, "step", "step");
    Span forward(&buffer, "forward", "forward");
    Span off(nullptr, "off", "off");
  }
  ASSERT_EQ(buffer.records().size(), 2u);
  const SpanRecord& inner = buffer.records()[0];
  const SpanRecord& outer = buffer.records()[1];
  EXPECT_EQ(inner.name, "forward");
  EXPECT_LE(outer.start_ns, inner.start_ns);
  EXPECT_GE(outer.start_ns + outer.duration_ns, inner.start_ns + inner.duration_ns);
}

TEST(ChromeTraceTest, FilesOfSeveralProcessesBecomeOneOnOneClock) {
  const std::string folder = ::testing::TempDir();
  SpanBuffer first(10);
  first.Add("a", "forward", 1'700'000'000'000'001'000, 1000);
  SpanBuffer second(1);
  second.Add("b", "forward", 1'700'000'000'000'009'000, 1000);
  second.Add("refused", "forward", 0, 0);
  const std::vector<std::string> parts = {folder + "/0.json", folder + "/1.json",
                                          folder + "/2.json"};
  ASSERT_THAT(WriteChromeTrace(parts[0], std::vector<TraceTrack>{{0, "x", 0, "rank 0", &first}}),
              IsOk());
  // The clock of this one was five microseconds ahead.
  ASSERT_THAT(WriteChromeTrace(parts[1], std::vector<TraceTrack>{{1, "y", 1, "rank 1", &second}},
                               absl::Microseconds(5)),
              IsOk());
  const SpanBuffer empty(1);
  ASSERT_THAT(WriteChromeTrace(parts[2], std::vector<TraceTrack>{{1, "y", 2, "rank 2", &empty}}),
              IsOk());
  const std::string merged = folder + "/merged.json";
  ASSERT_THAT(MergeChromeTraces(parts, merged), IsOk());
  std::ifstream file(merged);
  const auto trace = nlohmann::json::parse(file);
  EXPECT_EQ(trace["otherData"]["origin_ns"], "1700000000000001000");
  EXPECT_EQ(trace["otherData"]["dropped_spans"], "1");
  const auto& events = trace["traceEvents"];
  ASSERT_EQ(events.size(), 8u);
  EXPECT_EQ(events[2]["name"], "a");
  EXPECT_EQ(events[2]["ts"], 0);
  EXPECT_EQ(events[5]["name"], "b");
  EXPECT_EQ(events[5]["ts"], 3);
}

TEST(ChromeTraceTest, MergesOnlyWhatItWrote) {
  const std::string path = ::testing::TempDir() + "/foreign.json";
  const std::string merged = ::testing::TempDir() + "/merged.json";
  std::ofstream(path) << "[]";
  EXPECT_THAT(MergeChromeTraces(std::vector{path}, merged),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr(path + ":1:")));
  EXPECT_THAT(MergeChromeTraces(std::vector<std::string>{"/nowhere/at.json"}, merged),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(ChromeTraceTest, NamesTheFileItCannotWrite) {
  EXPECT_THAT(WriteChromeTrace("/nonexistent/trace.json", {}),
              StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("/nonexistent/")));
  EXPECT_THAT(WriteChromeTrace("/dev/full", {}), StatusIs(absl::StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace hetero
