#include "hetero/trainer/step/interleaved.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/checker.h"
#include "hetero/trainer/step/op.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "F0'1" is microbatch 0 through chunk 1.
std::string OrderOf(const InterleavedPlace& place, int m) {
  return absl::StrJoin(InterleavedOrder(place, m, /*runs_backward=*/true), " ",
                       [](std::string* out, const ChunkPass& pass) {
                         absl::StrAppend(out, pass.backward ? "B" : "F", pass.microbatch);
                         if (pass.chunk > 0) absl::StrAppend(out, "'", pass.chunk);
                       });
}

TEST(InterleavedOrderTest, TwoRanksWithTwoChunks) {
  EXPECT_EQ(OrderOf({2, 0, 2}, 4),
            "F0 F1 F0'1 F1'1 F2 B0'1 F3 B1'1 F2'1 B0 F3'1 B1 B2'1 B3'1 B2 B3");
  EXPECT_EQ(OrderOf({2, 1, 2}, 4),
            "F0 F1 F0'1 B0'1 F1'1 B1'1 F2 B0 F3 B1 F2'1 B2'1 F3'1 B3'1 B2 B3");
}

// The first and the last device of figure 4 of the paper, whose microbatches begin with 1.
TEST(InterleavedOrderTest, FourRanksWithTwoChunks) {
  EXPECT_EQ(OrderOf({4, 0, 2}, 8),
            "F0 F1 F2 F3 F0'1 F1'1 F2'1 F3'1 F4 F5 F6 B0'1 F7 B1'1 F4'1 B2'1 F5'1 B3'1 F6'1 B0 "
            "F7'1 B1 B2 B3 B4'1 B5'1 B6'1 B7'1 B4 B5 B6 B7");
  EXPECT_EQ(OrderOf({4, 3, 2}, 8),
            "F0 F1 F2 F3 F0'1 B0'1 F1'1 B1'1 F2'1 B2'1 F3'1 B3'1 F4 B0 F5 B1 F6 B2 F7 B3 F4'1 B4'1 "
            "F5'1 B5'1 F6'1 B6'1 F7'1 B7'1 B4 B5 B6 B7");
}

TEST(InterleavedOrderTest, OneGroupIsAllWarmUpOnTheFirstRank) {
  EXPECT_EQ(OrderOf({2, 0, 2}, 2), "F0 F1 F0'1 F1'1 B0'1 B1'1 B0 B1");
}

TEST(InterleavedOrderTest, OneChunkIsFarAheadOfItsNeighboursTwiceOver) {
  EXPECT_EQ(OrderOf({2, 0, 1}, 4), "F0 F1 F2 B0 F3 B1 B2 B3");
  EXPECT_EQ(OrderOf({2, 1, 1}, 4), "F0 B0 F1 B1 F2 B2 F3 B3");
}

TEST(InterleavedOrderTest, ForwardsAloneNeedNoWholeGroups) {
  const std::vector<ChunkPass> order = InterleavedOrder({2, 0, 2}, 3, /*runs_backward=*/false);
  EXPECT_THAT(order, ElementsAre(ChunkPass{0, 0}, ChunkPass{0, 1}, ChunkPass{1, 0}, ChunkPass{1, 1},
                                 ChunkPass{0, 2}, ChunkPass{1, 2}));
}

// A module of num_ranks * num_chunks stages in a row, stage chunk * num_ranks + rank on `rank`.
struct Interleaved {
  std::vector<std::string> names;
  std::vector<std::vector<int>> stages;  // by rank
  std::vector<ChannelEnds> channels;
  std::vector<std::vector<Op>> programs;

  Interleaved(int num_ranks, int num_chunks, int m, int receives_ahead) {
    const int num_stages = num_ranks * num_chunks;
    for (int s = 0; s + 1 < num_stages; ++s) {
      channels.push_back({s, s + 1, absl::StrCat("edge", s, " forward")});
      channels.push_back({s + 1, s, absl::StrCat("edge", s, " backward")});
    }
    for (int rank = 0; rank < num_ranks; ++rank) {
      const InterleavedPlace place = {num_ranks, rank, num_chunks};
      const std::vector<int> slots = InterleavedSlots(place, m);
      std::vector<StageWork> works;
      std::vector<int>& held = stages.emplace_back();
      for (int chunk = 0; chunk < num_chunks; ++chunk) {
        const int s = chunk * num_ranks + rank;
        held.push_back(s);
        StageWork& work = works.emplace_back(StageWork{
            .stage = s, .chunk = chunk, .num_microbatches = m, .num_slots = slots[chunk]});
        if (s > 0) {
          work.receive_forward = {ForwardChannel(s - 1)};
          work.send_backward = {BackwardChannel(s - 1)};
        }
        if (s + 1 < num_stages) {
          work.send_forward = {ForwardChannel(s)};
          work.receive_backward = {BackwardChannel(s)};
        }
      }
      names.push_back(absl::StrCat("rank", rank));
      programs.push_back(MakeInterleavedProgram(works, place, receives_ahead));
    }
  }

  absl::Status Check() const {
    std::vector<CheckedProgram> checked;
    for (size_t r = 0; r < programs.size(); ++r) {
      checked.push_back({names[r], stages[r], programs[r]});
    }
    return CheckProgress(checked, channels, TransferModel::kChannels);
  }
};

TEST(InterleavedProgramTest, Ends) {
  for (const int num_ranks : {2, 3, 4}) {
    for (const int num_chunks : {1, 2, 3}) {
      for (const int groups : {1, 2, 3}) {
        for (const int ahead : {1, 2, 4}) {
          EXPECT_THAT(Interleaved(num_ranks, num_chunks, groups * num_ranks, ahead).Check(), IsOk())
              << num_ranks << " ranks, " << num_chunks << " chunks, " << groups << " groups, "
              << ahead << " ahead";
        }
      }
    }
  }
}

// The order in which chunks go backward is part of the program.
TEST(InterleavedProgramTest, SwappedChunksAreRefusedWithTheCycle) {
  Interleaved pipeline(2, 2, 4, 1);
  std::vector<Op>& program = pipeline.programs[0];
  const auto wait_for_last = std::ranges::find_if(program, [](const Op& op) {
    return op.kind == OpKind::kWaitReceive && !IsForward(op.channel) && op.chunk == 0;
  });
  ASSERT_NE(wait_for_last, program.end());
  const Op early = *wait_for_last;
  const auto post = std::ranges::find_if(program, [&](const Op& op) {
    return op.kind == OpKind::kPostReceive && op.channel == early.channel;
  });
  program.erase(wait_for_last);
  program.insert(post + 1, early);
  EXPECT_THAT(pipeline.Check(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closes the cycle")));
}

TEST(InterleavedProgramTest, ChunksAreTold) {
  const Interleaved pipeline(2, 2, 2, 1);
  EXPECT_THAT(ToString(pipeline.programs[1]),
              HasSubstr("rf0'1 +rf1'1 L0'1 F0'1 B0'1 +sb0'1 rf1'1"));
}

}  // namespace
}  // namespace hetero
