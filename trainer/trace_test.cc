// The trace of a short run on disjoint grids.

#include <fstream>
#include <map>
#include <set>
#include <string>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Pair;

TEST(TraceTest, EveryRankHasATrackOfItsPlannedSteps) {
  const RecipeRun run = RunConfigured(
      RecipeConfig("fashion_tiny", {"data.mock.num_image_tokens=16", "train_steps=2",
                                    "schedule.warmup_steps=1", "evaluation.num_batches=1"}),
      {.trace = "trace.json"});
  ASSERT_THAT(run.status, IsOk());
  std::ifstream file(TestFolder() / "trace.json");
  const auto trace = nlohmann::json::parse(file);
  EXPECT_EQ(trace["otherData"]["dropped_spans"], "0");
  std::map<std::string, std::set<std::string>> modules;  // threads of a process
  std::map<int, std::map<std::string, int>> spans;       // by rank and name
  std::map<int64_t, std::string> module_of_process;
  for (const auto& event : trace["traceEvents"]) {
    const int rank = event["tid"];
    const std::string name = event["name"];
    if (name == "process_name") {
      module_of_process[event["pid"]] = event["args"]["name"];
    } else if (name == "thread_name") {
      modules[module_of_process[event["pid"]]].insert(event["args"]["name"]);
    } else {
      ++spans[rank][name];
      EXPECT_GE(event["dur"], 0);
    }
  }
  EXPECT_EQ(modules,
            (std::map<std::string, std::set<std::string>>{{"radio_encoder", {"rank 0", "rank 1"}},
                                                          {"language", {"rank 2", "rank 3"}}}));
  for (const int rank : {0, 1}) {
    // Two steps of training and a pass of evaluation.
    EXPECT_THAT(
        spans[rank],
        AllOf(Contains(Pair("radio_encoder.0 F3", 3)), Contains(Pair("radio_encoder.0 sf3", 3)),
              Contains(Pair("radio_encoder.0 rb0", 2)), Contains(Pair("radio_encoder.0 B0", 2)),
              Contains(Pair("radio_encoder.0 gradients", 2)), Contains(Pair("optimizer", 2)),
              Contains(Pair("evaluation", 1))));
  }
  for (const int rank : {2, 3}) {
    EXPECT_THAT(spans[rank],
                AllOf(Contains(Pair("language.0 rf0", 3)), Contains(Pair("language.0 sb3", 2)),
                      Contains(Pair("training step", 2))));
  }
}

}  // namespace
}  // namespace hetero
