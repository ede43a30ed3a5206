// What the trace of a run on two GPUs shows: data-parallel traffic under the work of layers.

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/gpus.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Interval {
  double begin = 0;  // microseconds
  double end = 0;
};

// Of a queue of a rank's GPU, by operation.
using Intervals = std::map<std::string, std::vector<Interval>>;

// By the name of the track.
std::map<std::string, Intervals> TracksOf(const nlohmann::json& trace) {
  std::map<int64_t, std::string> names;
  for (const auto& event : trace["traceEvents"]) {
    if (event["name"] == "thread_name") names[event["tid"]] = event["args"]["name"];
  }
  std::map<std::string, Intervals> tracks;
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] != "X" || event["cat"] != "device") continue;
    const double begin = event["ts"];
    const double time = event["dur"];
    tracks[names.at(event["tid"])][event["name"]].push_back({begin, begin + time});
  }
  return tracks;
}

// Of the time of `intervals`, what operations of `stream` other than waits lie beside.
double HiddenShare(const std::vector<Interval>& intervals, const Intervals& stream) {
  double hidden = 0;
  double all = 0;
  for (const Interval& interval : intervals) {
    all += interval.end - interval.begin;
    for (const auto& [name, operations] : stream) {
      if (absl::StartsWith(name, "wait for")) continue;
      for (const Interval& operation : operations) {
        hidden += std::max(
            0.0, std::min(interval.end, operation.end) - std::max(interval.begin, operation.begin));
      }
    }
  }
  return hidden / all;
}

TEST(TraceCudaTest, GradientsAndParametersMoveUnderTheWorkOfLayers) {
  const absl::StatusOr<int> num_gpus = CountGpus();
  ASSERT_THAT(num_gpus, IsOk());
  if (*num_gpus < 2) GTEST_SKIP() << "needs 2 GPUs; there are " << *num_gpus;
  const RecipeRun run = RunConfigured(
      RecipeConfig("mock_tiny",
                   {"launch=threads:2", "language.num_ranks=2", "device=CUDA", "precision=BF16",
                    "train_steps=6", "model.hidden_size=2048", "model.experts.ffn_size=1024",
                    "model.experts.shared_ffn_size=2048", "sequence_length=512",
                    "micro_batch_size=8", "global_batch_size=32"}),
      {.profile = true, .trace = "trace.json"});
  ASSERT_THAT(run.status, IsOk());
  std::ifstream file(TestFolder() / "trace.json");
  std::map<std::string, Intervals> tracks = TracksOf(nlohmann::json::parse(file));
  for (const std::string rank : {"rank 0", "rank 1"}) {
    const Intervals& stream = tracks[rank + " GPU: stream"];
    const Intervals& traffic = tracks[rank + " GPU: gradients and parameters"];
    for (const std::string call : {"reduce_scatter", "all_gather"}) {
      ASSERT_TRUE(traffic.contains(call)) << rank << ": " << call << "\n" << run.output;
      const double share = HiddenShare(traffic.at(call), stream);
      EXPECT_GT(share, 0) << rank << ": " << call;
      std::cout << rank << ": of " << call << ", " << 100 * share << " % under work of layers\n";
    }
  }
  std::cout << run.output;
}

}  // namespace
}  // namespace hetero
