// The trace of a short run on disjoint grids.

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/grid/layout.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/step/plan.h"
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

// The names of the spans of `rank`, in the order of time.
std::vector<std::string> SpansInOrder(const nlohmann::json& trace, int rank) {
  std::vector<std::pair<double, std::string>> spans;
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] == "X" && event["tid"] == rank) spans.emplace_back(event["ts"], event["name"]);
  }
  std::ranges::stable_sort(spans, {}, &std::pair<double, std::string>::first);
  std::vector<std::string> names;
  for (auto& [time, name] : spans) names.push_back(std::move(name));
  return names;
}

// What ran is the program of the rank's class, operation by operation, posts and waits included.
void ExpectProgramsRun(std::vector<std::string> assignments) {
  assignments.push_back("train_steps=1");
  const proto::RunConfig config = RecipeConfig("mock_vlm_tiny", assignments);
  ASSERT_THAT(RunConfigured(config, {.trace = "program.json"}).status, IsOk());
  std::ifstream file(TestFolder() / "program.json");
  const auto trace = nlohmann::json::parse(file);

  const Layout layout = Layout::Make(GridSpecs(config), SizesOf(config).world_size).value();
  const auto model = BuiltInModels().Make(config.model(), StorageOf(config)).value();
  const StepPlan plan = MakePlan(layout, *model, config.micro_batch_size(),
                                 config.global_batch_size(), ScheduleOf(config))
                            .value();
  for (int rank = 0; rank < layout.world_size(); ++rank) {
    std::vector<std::string> planned;
    for (const Op& op : plan.ClassOf(layout, GlobalRank(rank)).train) {
      planned.push_back(plan.OpName(op));
    }
    std::vector<std::string> ran;
    for (const std::string& name : SpansInOrder(trace, rank)) {
      if (name != "training step") ran.push_back(name);
    }
    EXPECT_EQ(ran, planned) << "rank " << rank;
  }
}

TEST(TraceTest, ARankRunsTheProgramOfItsClassAndNothingElse) {
  const std::vector<std::string> pipelines = {
      "launch=threads:4",     "radio_encoder.num_ranks=2", "radio_encoder.pp=2",  "language.pp=2",
      "language.num_ranks=2", "language.rank_offset=2",    "global_batch_size=32"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), pipelines.begin(), pipelines.end());
    return more;
  };
  ExpectProgramsRun(with({"model.language.pattern=\"ME|M*E\"", "encoder_run_ahead=2"}));
  ExpectProgramsRun(with({"model.language.pattern=\"ME|M*E\"", "encoder_run_ahead=0"}));
  ExpectProgramsRun(with({"model.language.pattern=\"ME|M*E\"", "split_backward=true"}));
  ExpectProgramsRun(with({"model.language.pattern=\"MEM*\"", "pipeline_chunks=2"}));
}

TEST(TraceTest, RanksThatModulesShareRunTheirProgramsToo) {
  const std::vector<std::string> shared = {"launch=threads:2", "radio_encoder.num_ranks=2",
                                           "language.num_ranks=2", "language.rank_offset=0"};
  ExpectProgramsRun(shared);
  std::vector<std::string> phased = shared;
  phased.insert(phased.end(), {"language.pp=2", "model.language.pattern=\"ME|M*E\""});
  ExpectProgramsRun(phased);
}

}  // namespace
}  // namespace hetero
