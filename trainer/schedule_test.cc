#include "hetero/trainer/schedule.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<StageNode> Chain(int stages) {
  std::vector<StageNode> nodes(stages);
  for (int i = 0; i < stages; ++i) {
    nodes[i].name = absl::StrCat("stage", i);
    if (i + 1 < stages) nodes[i].consumers = {i + 1};
  }
  return nodes;
}

std::vector<std::vector<ScheduleStep>> Programs(std::span<const StageNode> stages, int m,
                                                std::span<const int> warmups) {
  std::vector<bool> fed(stages.size(), false);
  for (const StageNode& stage : stages) {
    for (int v : stage.consumers) fed[v] = true;
  }
  std::vector<std::vector<ScheduleStep>> programs;
  for (size_t s = 0; s < stages.size(); ++s) {
    programs.push_back(MakeSchedule({.num_microbatches = m,
                                     .warmup = warmups[s],
                                     .has_upstream = fed[s],
                                     .has_downstream = !stages[s].consumers.empty()}));
  }
  return programs;
}

std::vector<std::string> Texts(int stages, int m) {
  const std::vector<StageNode> chain = Chain(stages);
  std::vector<std::string> texts;
  for (const auto& program : Programs(chain, m, MakeWarmups(chain).value())) {
    texts.push_back(ToString(program));
  }
  return texts;
}

std::string ComputeOnly(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (char c : absl::StrCat(text, " ")) {
    if (std::string_view(" []+").find(c) == std::string_view::npos) {
      word += c;
      continue;
    }
    if (!word.empty() && (word[0] == 'F' || word[0] == 'B')) words.push_back(word);
    word.clear();
  }
  std::string joined;
  for (const std::string& w : words) absl::StrAppend(&joined, joined.empty() ? "" : " ", w);
  return joined;
}

TEST(ScheduleTest, OrdersOfShortPipelinesWithTransfers) {
  EXPECT_THAT(Texts(2, 3), ElementsAre("F0 sf0 F1 [sf1+rb0] B0 F2 [sf2+rb1] B1 rb2 B2",
                                       "rf0 F0 B0 [sb0+rf1] F1 B1 [sb1+rf2] F2 B2 sb2"));
  EXPECT_THAT(Texts(3, 3),
              ElementsAre("F0 sf0 F1 sf1 F2 [sf2+rb0] B0 rb1 B1 rb2 B2",
                          "rf0 F0 sf0 rf1 F1 [sf1+rb0] B0 [sb0+rf2] F2 [sf2+rb1] B1 sb1 rb2 B2 sb2",
                          "rf0 F0 B0 [sb0+rf1] F1 B1 [sb1+rf2] F2 B2 sb2"));
}

TEST(ScheduleTest, ComputeOrders) {
  EXPECT_EQ(ComputeOnly(Texts(4, 6)[0]), "F0 F1 F2 F3 B0 F4 B1 F5 B2 B3 B4 B5");
  EXPECT_EQ(ComputeOnly(Texts(4, 6)[2]), "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 B5");
  EXPECT_EQ(ComputeOnly(Texts(4, 3)[0]), "F0 F1 F2 B0 B1 B2");
  EXPECT_EQ(ComputeOnly(Texts(4, 3)[1]), "F0 F1 F2 B0 B1 B2");
  EXPECT_EQ(ComputeOnly(Texts(4, 2)[3]), "F0 B0 F1 B1");
  EXPECT_EQ(ComputeOnly(Texts(3, 1)[0]), "F0 B0");
}

TEST(ScheduleTest, ForwardOnlyKeepsNothing) {
  const std::vector<ScheduleStep> steps = MakeSchedule({.num_microbatches = 3,
                                                        .warmup = 2,
                                                        .has_upstream = true,
                                                        .has_downstream = true,
                                                        .forward_only = true});
  EXPECT_EQ(ToString(steps), "rf0 F0 sf0 rf1 F1 sf1 rf2 F2 sf2");
}

TEST(WarmupTest, IsTheDistanceToTheSinkRaisedOnShallowBranches) {
  EXPECT_THAT(MakeWarmups(Chain(4)), IsOkAndHolds(ElementsAre(3, 2, 1, 0)));
  // image pp2 and audio pp1 into a language model of 4 stages.
  EXPECT_THAT(MakeWarmups(std::vector<StageNode>{{"image.0", {1}},
                                                 {"image.1", {3}},
                                                 {"audio.0", {3}},
                                                 {"llm.0", {4}},
                                                 {"llm.1", {5}},
                                                 {"llm.2", {6}},
                                                 {"llm.3", {}}}),
              IsOkAndHolds(ElementsAre(5, 4, 4, 3, 2, 1, 0)));
  // One encoder feeds a language model of 3 stages and a generator of 1.
  EXPECT_THAT(MakeWarmups(std::vector<StageNode>{
                  {"enc", {1, 4}}, {"llm.0", {2}}, {"llm.1", {3}}, {"llm.2", {}}, {"gen", {}}}),
              IsOkAndHolds(ElementsAre(3, 2, 1, 0, 2)));
  EXPECT_THAT(MakeWarmups(std::vector<StageNode>{{"a", {1}}, {"b", {0}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cycle")));
  EXPECT_THAT(MakeWarmups(std::vector<StageNode>{{"a", {1, 2}}, {"b", {2}}, {"c", {}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stage a")));
}

class LawTest : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(LawTest, BothEndsOfAnEdgeSeeTheSameTransfersAndNothingDeadlocks) {
  const auto [stages, m] = GetParam();
  const std::vector<StageNode> chain = Chain(stages);
  const std::vector<int> warmups = MakeWarmups(chain).value();
  const auto programs = Programs(chain, m, warmups);
  for (int s = 0; s < stages; ++s) {
    EXPECT_EQ(PeakInFlight(programs[s]), std::min(m, warmups[s] + 1));
    if (s + 1 == stages) continue;
    // A transfer of the edge as seen from either end: the microbatch going down and coming up.
    const auto edge_events = [](std::span<const ScheduleStep> program, StepKind down, StepKind up) {
      std::vector<std::pair<int, int>> events;
      for (size_t i = 0; i < program.size(); ++i) {
        const auto relevant = [&](size_t j) {
          return program[j].kind == down || program[j].kind == up;
        };
        if (!relevant(i)) continue;
        std::pair<int, int> event(-1, -1);
        const bool pair = program[i].with_next && i + 1 < program.size() && relevant(i + 1);
        for (size_t j = i; j <= i + (pair ? 1 : 0); ++j) {
          (program[j].kind == down ? event.first : event.second) = program[j].microbatch;
        }
        events.push_back(event);
        if (pair) ++i;
      }
      return events;
    };
    EXPECT_EQ(edge_events(programs[s], StepKind::kSendForward, StepKind::kReceiveBackward),
              edge_events(programs[s + 1], StepKind::kReceiveForward, StepKind::kSendBackward))
        << "edge " << s << ": " << ToString(programs[s]) << " against "
        << ToString(programs[s + 1]);
  }
  EXPECT_EQ(CheckDeadlockFree(chain, programs, TransferModel::kSynchronous), absl::OkStatus());
  EXPECT_EQ(CheckDeadlockFree(chain, programs, TransferModel::kChannels), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(Pipelines, LawTest,
                         testing::Combine(testing::Range(1, 6), testing::Range(1, 9)));

TEST(DeadlockTest, RunningAheadNeedsChannels) {
  const std::vector<StageNode> chain = Chain(2);
  for (int run_ahead : {1, 2, 3}) {
    const auto programs = Programs(chain, 8, std::vector<int>{1 + run_ahead, 0});
    EXPECT_EQ(PeakInFlight(programs[0]), 2 + run_ahead);
    EXPECT_EQ(CheckDeadlockFree(chain, programs, TransferModel::kChannels), absl::OkStatus());
    EXPECT_THAT(CheckDeadlockFree(chain, programs, TransferModel::kSynchronous),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("stage0 waits at")));
  }
}

TEST(DeadlockTest, EncodersOfUnequalDepthByDistanceFromTheSourceDeadlock) {
  const std::vector<StageNode> stages = {{"image.0", {1}}, {"image.1", {3}}, {"audio", {3}},
                                         {"llm.0", {4}},   {"llm.1", {5}},   {"llm.2", {6}},
                                         {"llm.3", {}}};
  const std::vector<int> by_source = {5, 4, 5, 3, 2, 1, 0};
  EXPECT_EQ(CheckDeadlockFree(stages, Programs(stages, 8, MakeWarmups(stages).value()),
                              TransferModel::kSynchronous),
            absl::OkStatus());
  EXPECT_THAT(
      CheckDeadlockFree(stages, Programs(stages, 8, by_source), TransferModel::kSynchronous),
      StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace hetero
