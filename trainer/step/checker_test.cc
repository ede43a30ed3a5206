#include "hetero/trainer/step/checker.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/schedule.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Stages on ranks of their own, each with its program.
struct Pipeline {
  std::vector<StageNode> stages;
  std::vector<ChannelEnds> channels;
  std::vector<std::vector<Op>> programs;

  absl::Status Check(TransferModel model) const {
    std::vector<CheckedProgram> checked;
    for (size_t s = 0; s < stages.size(); ++s) {
      checked.push_back({stages[s].name, {static_cast<int>(s)}, programs[s]});
    }
    return CheckProgress(checked, channels, model);
  }
};

Pipeline MakePipeline(std::vector<StageNode> stages, int m, std::span<const int> warmups,
                      int receives_ahead) {
  std::vector<StageWork> works(stages.size());
  Pipeline pipeline;
  for (size_t s = 0; s < stages.size(); ++s) {
    works[s].stage = static_cast<int>(s);
    works[s].num_microbatches = m;
    works[s].warmup = warmups[s];
    works[s].num_slots = std::min(m, warmups[s] + 1);
    for (const int v : stages[s].consumers) {
      const int edge = static_cast<int>(pipeline.channels.size()) / 2;
      const std::string name = absl::StrCat(stages[s].name, "-", stages[v].name);
      pipeline.channels.push_back({static_cast<int>(s), v, absl::StrCat(name, " forward")});
      pipeline.channels.push_back({v, static_cast<int>(s), absl::StrCat(name, " backward")});
      works[s].send_forward.push_back(ForwardChannel(edge));
      works[s].receive_backward.push_back(BackwardChannel(edge));
      works[v].receive_forward.push_back(ForwardChannel(edge));
      works[v].send_backward.push_back(BackwardChannel(edge));
    }
  }
  for (const StageWork& work : works) {
    pipeline.programs.push_back(MakePipelineProgram(work, receives_ahead));
  }
  pipeline.stages = std::move(stages);
  return pipeline;
}

std::vector<StageNode> Chain(int stages) {
  std::vector<StageNode> nodes(stages);
  for (int i = 0; i < stages; ++i) {
    nodes[i].name = absl::StrCat("stage", i);
    if (i + 1 < stages) nodes[i].consumers = {i + 1};
  }
  return nodes;
}

// image of two stages and audio of one into a language model of four
std::vector<StageNode> TwoEncoders() {
  return {{"image.0", {1}}, {"image.1", {3}}, {"audio.0", {3}}, {"llm.0", {4}},
          {"llm.1", {5}},   {"llm.2", {6}},   {"llm.3", {}}};
}

Pipeline MakeChain(int stages, int m, int receives_ahead) {
  return MakePipeline(Chain(stages), m, MakeWarmups(Chain(stages)).value(), receives_ahead);
}

class LawTest : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(LawTest, PipelinesEndUnderBothModels) {
  const auto [stages, m] = GetParam();
  EXPECT_THAT(MakeChain(stages, m, 0).Check(TransferModel::kSynchronous), IsOk());
  for (const int ahead : {0, 1, 2, 4}) {
    EXPECT_THAT(MakeChain(stages, m, ahead).Check(TransferModel::kChannels), IsOk()) << ahead;
  }
}

INSTANTIATE_TEST_SUITE_P(Pipelines, LawTest,
                         testing::Combine(testing::Range(1, 6), testing::Range(1, 9)));

TEST(CheckProgressTest, RunningAheadNeedsReceivesThatAreAsFarAhead) {
  for (const int run_ahead : {1, 2, 3}) {
    const std::vector<int> warmups = {1 + run_ahead, 0};
    EXPECT_THAT(MakePipeline(Chain(2), 8, warmups, run_ahead).Check(TransferModel::kChannels),
                IsOk());
    EXPECT_THAT(MakePipeline(Chain(2), 8, warmups, 0).Check(TransferModel::kSynchronous),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("stage0 waits for "), HasSubstr("closes the cycle"))));
  }
}

TEST(CheckProgressTest, EncodersOfUnequalDepthRunInStepByTheirDistanceToTheLoss) {
  const std::vector<int> by_sink = MakeWarmups(TwoEncoders()).value();
  EXPECT_THAT(MakePipeline(TwoEncoders(), 8, by_sink, 0).Check(TransferModel::kSynchronous),
              IsOk());
  const std::vector<int> by_source = {5, 4, 5, 3, 2, 1, 0};
  EXPECT_THAT(
      MakePipeline(TwoEncoders(), 8, by_source, 0).Check(TransferModel::kSynchronous),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "the step's programs cannot end: llm.0 waits for audio.0-llm.0 backward[mb 0] to be "
               "taken by audio.0, which waits for audio.0-llm.0 forward[mb 4] to be taken by "
               "llm.0, which closes the cycle"));
}

// Two forwards of the first stage change places: what comes over the edge is not what is awaited.
TEST(CheckProgressTest, SwappedOperationsAreRefused) {
  for (const int ahead : {0, 2}) {
    Pipeline pipeline = MakeChain(3, 4, ahead);
    std::vector<Op>& program = pipeline.programs[0];
    for (Op& op : program) {
      if (op.kind == OpKind::kBackward || !IsForward(op.channel)) continue;
      if (op.microbatch == 1) {
        op.microbatch = 2;
      } else if (op.microbatch == 2) {
        op.microbatch = 1;
      }
    }
    for (const TransferModel model : {TransferModel::kSynchronous, TransferModel::kChannels}) {
      if (ahead > 0 && model == TransferModel::kSynchronous) continue;
      EXPECT_THAT(pipeline.Check(model),
                  StatusIs(absl::StatusCode::kFailedPrecondition,
                           AllOf(HasSubstr("stage0-stage1 forward[mb "), HasSubstr("stage0"),
                                 HasSubstr("stage1"), HasSubstr("closes the cycle"))));
    }
  }
}

TEST(CheckProgressTest, AMissingReceiveIsNamed) {
  for (const int ahead : {0, 2}) {
    Pipeline pipeline = MakeChain(2, 3, ahead);
    std::erase_if(pipeline.programs[1], [](const Op& op) {
      return IsTransfer(op.kind) && IsForward(op.channel) && op.microbatch == 2;
    });
    EXPECT_THAT(pipeline.Check(ahead == 0 ? TransferModel::kSynchronous : TransferModel::kChannels),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         StartsWith("the step's programs cannot end: stage0 waits for "
                                    "stage0-stage1 forward[mb 2] to be taken by stage1, ")));
  }
}

// Stage 2 wants the gradient before it has sent what it is of; stages 0 and 1 wait for it.
TEST(CheckProgressTest, TheShortestCycleIsTold) {
  Pipeline pipeline = MakeChain(4, 1, 1);
  std::vector<Op>& program = pipeline.programs[2];
  std::ranges::stable_partition(program, [](const Op& op) {
    return (op.kind == OpKind::kPostReceive || op.kind == OpKind::kWaitReceive) &&
           !IsForward(op.channel);
  });
  EXPECT_THAT(pipeline.Check(TransferModel::kChannels),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "the step's programs cannot end: stage2 waits for stage2-stage3 "
                       "backward[mb 0] from stage3, which waits for stage2-stage3 forward[mb 0] "
                       "from stage2, which closes the cycle"));
}

TEST(CheckProgressTest, AWaitForWhatWasNotPostedIsTold) {
  Pipeline pipeline = MakeChain(2, 2, 1);
  std::erase_if(pipeline.programs[1],
                [](const Op& op) { return op.kind == OpKind::kPostReceive && op.microbatch == 1; });
  EXPECT_THAT(pipeline.Check(TransferModel::kChannels),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "the step's programs cannot end: stage1 waits for stage0-stage1 forward[mb "
                       "1], which it has not posted"));
}

}  // namespace
}  // namespace hetero
