#include "hetero/trainer/timing/simulation.h"

#include <algorithm>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/trainer/step/schedule.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::DoubleNear;

constexpr double kTolerance = 1e-9;

struct Durations {
  double forward = 1;
  double backward = 2;
};

// A pipeline of as many stages, one after the other, over edge i from stage i to stage i + 1.
std::vector<TimedRanks> Pipeline(const std::vector<Durations>& stages, int num_microbatches,
                                 int receives_ahead = 0) {
  const int num_stages = static_cast<int>(stages.size());
  std::vector<TimedRanks> ranks;
  for (int s = 0; s < num_stages; ++s) {
    StageWork work = {.stage = s,
                      .num_microbatches = num_microbatches,
                      .warmup = num_stages - 1 - s,
                      .num_slots = num_stages - s};
    if (s > 0) {
      work.receive_forward = {ForwardChannel(s - 1)};
      work.send_backward = {BackwardChannel(s - 1)};
    }
    if (s + 1 < num_stages) {
      work.send_forward = {ForwardChannel(s)};
      work.receive_backward = {BackwardChannel(s)};
    }
    TimedRanks& of_stage = ranks.emplace_back();
    of_stage = {.stages = {s}, .program = s};
    for (const Op& op : MakePipelineProgram(work, receives_ahead)) {
      TimedOp timed = {.op = op};
      if (op.kind == OpKind::kForward) timed.work_seconds = stages[s].forward;
      if (op.kind == OpKind::kBackward) timed.work_seconds = stages[s].backward;
      of_stage.ops.push_back(timed);
    }
    of_stage.ops.push_back({.op = {.kind = OpKind::kUpdate}, .joins = Joins::kWorld});
  }
  return ranks;
}

std::vector<LinkEnds> Channels(int num_stages) {
  std::vector<LinkEnds> channels;
  for (int s = 0; s + 1 < num_stages; ++s) {
    channels.push_back({s, s + 1});
    channels.push_back({s + 1, s});
  }
  return channels;
}

StepTime Time(const std::vector<TimedRanks>& ranks, const std::vector<LinkEnds>& channels,
              const SimulationOptions& options = {}) {
  const absl::StatusOr<StepTime> step = Simulate(ranks, channels, options);
  EXPECT_THAT(step, ::absl_testing::IsOk());
  return step.value_or(StepTime());
}

class PipelineTest : public ::testing::TestWithParam<std::tuple<int, int>> {};

// Narayanan et al.: of (m + P - 1)(f + b), (P - 1)(f + b) are waits.
TEST_P(PipelineTest, TakesWhatItsFormulaSays) {
  const auto [num_stages, num_microbatches] = GetParam();
  const auto ranks =
      Pipeline(std::vector<Durations>(static_cast<size_t>(num_stages)), num_microbatches);
  const StepTime step = Time(ranks, Channels(num_stages));
  EXPECT_THAT(step.seconds, DoubleNear(3.0 * (num_microbatches + num_stages - 1), kTolerance));
  for (const RanksTime& time : step.ranks) {
    EXPECT_THAT(time.working, DoubleNear(3.0 * num_microbatches, kTolerance));
    EXPECT_THAT(time.transferring + time.joining, DoubleNear(3.0 * (num_stages - 1), kTolerance));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, PipelineTest,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4),
                                            ::testing::Values(1, 2, 4, 7)));

// When every operation ends, from those before it: a recursion without time.
double EndOf(const std::vector<TimedRanks>& ranks) {
  std::map<std::tuple<int, int, bool>, double> posted;  // by channel, microbatch, sent or received
  std::vector<size_t> at(ranks.size());
  std::vector<double> now(ranks.size());
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t r = 0; r < ranks.size(); ++r) {
      while (at[r] < ranks[r].ops.size() && ranks[r].ops[at[r]].op.kind != OpKind::kUpdate) {
        const TimedOp& timed = ranks[r].ops[at[r]];
        const Op& op = timed.op;
        if (IsPost(op.kind)) {
          posted[{op.channel, op.microbatch, op.kind == OpKind::kPostSend}] = now[r];
        } else if (IsWait(op.kind)) {
          const auto send = posted.find({op.channel, op.microbatch, true});
          const auto receive = posted.find({op.channel, op.microbatch, false});
          if (send == posted.end() || receive == posted.end()) break;
          now[r] = std::max({now[r], send->second, receive->second});
        } else {
          now[r] += timed.work_seconds;
        }
        ++at[r];
        moved = true;
      }
    }
  }
  return *std::ranges::max_element(now);
}

TEST(SimulationTest, AgreesWithARecursionOnUnequalStages) {
  std::mt19937_64 random = FreshGenerator();
  std::uniform_real_distribution<double> seconds(0.1, 3);
  for (int round = 0; round < 20; ++round) {
    std::vector<Durations> stages(2 + round % 3);
    for (Durations& stage : stages) stage = {seconds(random), seconds(random)};
    const auto ranks = Pipeline(stages, 1 + round % 6, round % 2 * 3);
    EXPECT_THAT(Time(ranks, Channels(static_cast<int>(stages.size()))).seconds,
                DoubleNear(EndOf(ranks), kTolerance));
  }
}

TEST(SimulationTest, TellsWhoWaitsForWhat) {
  const StepTime step = Time(
      Pipeline({{.forward = 3, .backward = 1}, {.forward = 1, .backward = 1}}, 1), Channels(2));
  EXPECT_THAT(step.seconds, DoubleNear(6, kTolerance));
  EXPECT_THAT(step.ranks[1].waits[ForwardChannel(0)], DoubleNear(3, kTolerance));
  EXPECT_THAT(step.ranks[0].waits[BackwardChannel(0)], DoubleNear(2, kTolerance));
  EXPECT_THAT(step.ranks[1].joining, DoubleNear(1, kTolerance));
}

TEST(SimulationTest, ALinkCarriesOneTransferAfterTheOther) {
  std::vector<TimedRanks> ranks = Pipeline({{.forward = 0, .backward = 0}, {}}, 2, 2);
  for (TimedOp& timed : ranks[0].ops) {
    if (timed.op.kind == OpKind::kPostSend) timed.traffic_seconds = 5;
  }
  // Sends of both microbatches are posted at once: 5 and 10, the second forward and backward.
  EXPECT_THAT(Time(ranks, Channels(2)).seconds, DoubleNear(13, kTolerance));
}

// Ranks without anything to do with each other but the end of the step.
std::vector<TimedRanks> Apart(const std::vector<double>& seconds, int64_t num_ranks = 1) {
  std::vector<TimedRanks> ranks;
  for (const double work : seconds) {
    const int r = static_cast<int>(ranks.size());
    ranks.push_back({.stages = {r}, .program = r, .num_ranks = num_ranks});
    ranks.back().ops = {{.op = {.kind = OpKind::kForward, .stage = r}, .work_seconds = work},
                        {.op = {.kind = OpKind::kUpdate}, .joins = Joins::kWorld}};
  }
  return ranks;
}

TEST(SimulationTest, RanksShareCores) {
  EXPECT_THAT(Time(Apart({1, 3}), {}, {.cores = 1}).seconds, DoubleNear(4, kTolerance));
  EXPECT_THAT(Time(Apart({1, 3}), {}, {.cores = 2}).seconds, DoubleNear(3, kTolerance));
  // Three on two cores until the first has ended: 1 after 1.5, then the others have one each.
  const StepTime step = Time(Apart({1, 3, 3}), {}, {.cores = 2});
  EXPECT_THAT(step.seconds, DoubleNear(3.5, kTolerance));
  EXPECT_THAT(step.ranks[0].working, DoubleNear(1.5, kTolerance));
  EXPECT_THAT(Time(Apart({2}, 6), {}, {.cores = 3}).seconds, DoubleNear(4, kTolerance));
  EXPECT_THAT(Time(Apart({2}, 6), {}).seconds, DoubleNear(2, kTolerance));
}

TEST(SimulationTest, CollectivesBeginWhenAllHaveCome) {
  std::vector<TimedRanks> ranks = Apart({1, 3});
  ranks[0].ops[0].joins = ranks[1].ops[0].joins = Joins::kStage;
  ranks[0].ops[0].traffic_seconds = ranks[1].ops[0].traffic_seconds = 0.5;
  EXPECT_THAT(Time(ranks, {}).ranks[0].joining, DoubleNear(2, kTolerance));  // of the world
  ranks[1].program = ranks[0].program;
  const StepTime step = Time(ranks, {}, {.wake_seconds = 0.25});
  EXPECT_THAT(step.ranks[0].joining, DoubleNear(2.5, kTolerance));
  EXPECT_THAT(step.ranks[0].traffic, DoubleNear(0.5, kTolerance));
  EXPECT_THAT(step.seconds, DoubleNear(4, kTolerance));
}

TEST(SimulationTest, SaysWhenProgramsDoNotEnd) {
  const std::vector<TimedRanks> ranks = {
      {.stages = {0}, .ops = {{.op = {.kind = OpKind::kWaitReceive, .channel = 0}}}}};
  EXPECT_THAT(Simulate(ranks, std::vector<LinkEnds>{{1, 0}}, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace hetero
