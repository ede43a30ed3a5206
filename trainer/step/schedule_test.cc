#include "hetero/trainer/step/schedule.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/order_text.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Stages in a row; edge s is from stage s to s + 1.
std::vector<StageWork> Chain(int stages, int m) {
  std::vector<StageWork> works(stages);
  for (int s = 0; s < stages; ++s) {
    works[s] = {.stage = s,
                .num_microbatches = m,
                .warmup = stages - 1 - s,
                .num_slots = std::min(m, stages - s)};
    if (s > 0) {
      works[s].receive_forward = {ForwardChannel(s - 1)};
      works[s].send_backward = {BackwardChannel(s - 1)};
    }
    if (s + 1 < stages) {
      works[s].send_forward = {ForwardChannel(s)};
      works[s].receive_backward = {BackwardChannel(s)};
    }
  }
  return works;
}

std::vector<std::string> Texts(int stages, int m, int receives_ahead = 0) {
  std::vector<std::string> texts;
  for (const StageWork& work : Chain(stages, m)) {
    texts.push_back(OrderText(MakePipelineProgram(work, receives_ahead)));
  }
  return texts;
}

std::string ComputeOnly(const std::string& text) {
  std::vector<std::string> words;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (absl::string_view("FBIW").find(word[0]) != absl::string_view::npos) {
      words.emplace_back(word);
    }
  }
  return absl::StrJoin(words, " ");
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

TEST(ScheduleTest, ForwardOnlyHasNoBackward) {
  StageWork work = Chain(3, 3)[1];
  work.runs_backward = false;
  work.send_backward = work.receive_backward = {};
  EXPECT_EQ(OrderText(MakePipelineProgram(work, 0)), "rf0 F0 sf0 rf1 F1 sf1 rf2 F2 sf2");
}

TEST(ScheduleTest, AStageHoldsAsManyMicrobatchesAsItsWarmUpAndOne) {
  for (int stages = 1; stages < 6; ++stages) {
    for (int m = 1; m < 9; ++m) {
      for (const StageWork& work : Chain(stages, m)) {
        EXPECT_EQ(PeakInFlight(MakePipelineProgram(work, 0)), work.num_slots);
      }
    }
  }
}

// Receives are posted ahead, what was sent is waited for when its slot is used again, and all of it
// is in the program.
TEST(ScheduleTest, PostsAndWaitsAreOperations) {
  EXPECT_EQ(ToString(MakePipelineProgram(Chain(2, 3)[1], 0)),
            "+rf0 rf0 L0 F0 B0 +sb0 +rf1 sb0 rf1 L1 F1 B1 +sb1 +rf2 sb1 rf2 L2 F2 B2 +sb2 sb2");
  EXPECT_EQ(ToString(MakePipelineProgram(Chain(2, 3)[1], 2)),
            "+rf0 +rf1 rf0 +rf2 L0 F0 B0 +sb0 rf1 sb0 L1 F1 B1 +sb1 rf2 sb1 L2 F2 B2 +sb2 sb2");
  EXPECT_EQ(ToString(MakePipelineProgram(Chain(2, 3)[0], 2)),
            "L0 F0 +sf0 +rb0 L1 F1 +sf1 +rb1 rb0 B0 sf0 L2 F2 +sf2 +rb2 rb1 B1 rb2 B2 sf1 sf2");
}

// Every stage holds as many microbatches as the first; the weight halves of the last fill the wait
// for the gradients of the others.
std::vector<StageWork> SplitChain(int stages, int m) {
  std::vector<StageWork> works = Chain(stages, m);
  for (int s = 0; s < stages; ++s) {
    works[s].weight_delay = s;
    works[s].num_slots = std::min(m, stages);
  }
  return works;
}

TEST(ScheduleTest, WeightHalvesComeLater) {
  const std::vector<StageWork> works = SplitChain(3, 4);
  const auto compute = [&](int s) {
    return ComputeOnly(OrderText(MakePipelineProgram(works[s], 1)));
  };
  EXPECT_EQ(compute(0), "F0 F1 F2 I0 W0 F3 I1 W1 I2 W2 I3 W3");
  EXPECT_EQ(compute(1), "F0 F1 I0 F2 I1 W0 F3 I2 W1 I3 W2 W3");
  EXPECT_EQ(compute(2), "F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3");
  EXPECT_EQ(OrderText(MakePipelineProgram(SplitChain(2, 2)[1], 0)),
            "rf0 F0 I0 [sb0+rf1] F1 I1 sb1 W0 W1");
  // The gradient leaves before the weight half runs, and that before the next microbatch is waited
  // for.
  EXPECT_EQ(ToString(MakePipelineProgram(SplitChain(2, 3)[1], 1)),
            "+rf0 rf0 +rf1 L0 F0 I0 +sb0 rf1 +rf2 L1 F1 I1 +sb1 W0 rf2 sb0 L2 F2 I2 +sb2 W1 W2 sb1 "
            "sb2");
}

TEST(ScheduleTest, WeightHalvesKeepEveryStageAsFullAsTheFirst) {
  for (int stages = 1; stages < 6; ++stages) {
    for (int m = 1; m < 9; ++m) {
      for (const StageWork& work : SplitChain(stages, m)) {
        for (const int ahead : {0, 1, 2}) {
          EXPECT_EQ(PeakInFlight(MakePipelineProgram(work, ahead)), work.num_slots);
        }
      }
    }
  }
}

TEST(ScheduleTest, ModulesOnTheSameRanksTakeTurns) {
  std::vector<StageWork> works = Chain(2, 2);
  for (StageWork& work : works) work.num_slots = 1;
  EXPECT_EQ(OrderText(MakeAlternatingProgram(works)),
            "F0 sf0 rf0 F0 B0 sb0 rb0 B0 F1 sf1 rf1 F1 B1 sb1 rb1 B1");
}

// The first encoder stage and the first of two language stages on the same ranks.
TEST(ScheduleTest, PipelinesOnTheRanksOfTheirEncodersRunInPhases) {
  std::vector<StageWork> works = Chain(3, 3);
  works.pop_back();
  works[0].num_slots = 3;
  EXPECT_EQ(OrderText(MakePhasedProgram(works)),
            "F0 sf0 F1 sf1 F2 sf2 "
            "rf0 F0 sf0 rf1 F1 sf1 rb0 B0 sb0 rf2 F2 sf2 rb1 B1 sb1 rb2 B2 sb2 "
            "rb0 B0 rb1 B1 rb2 B2");
}

TEST(WarmupTest, IsTheDistanceToTheSinkRaisedOnShallowBranches) {
  EXPECT_THAT(MakeWarmups(std::vector<StageNode>{{"a", {1}}, {"b", {2}}, {"c", {3}}, {"d", {}}}),
              IsOkAndHolds(ElementsAre(3, 2, 1, 0)));
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

}  // namespace
}  // namespace hetero
