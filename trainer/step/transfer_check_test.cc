#include "hetero/trainer/step/transfer_check.h"

#include <algorithm>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/schedule.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

// An encoder's stage that feeds a language model's, three microbatches.
class TransferCheckTest : public ::testing::Test {
 protected:
  absl::Status Check() const {
    const std::vector<CheckedProgram> programs = {{"encoder", {0}, encoder_},
                                                  {"language", {1}, language_}};
    return CheckTransfers(programs, channels_);
  }

  std::vector<ChannelEnds> channels_ = {{0, 1, "edge forward"}, {1, 0, "edge backward"}};
  std::vector<Op> encoder_ = MakePipelineProgram({.stage = 0,
                                                  .num_microbatches = 3,
                                                  .warmup = 2,
                                                  .num_slots = 3,
                                                  .send_forward = {0},
                                                  .receive_backward = {1}},
                                                 2);
  std::vector<Op> language_ = MakePipelineProgram(
      {.stage = 1, .num_microbatches = 3, .receive_forward = {0}, .send_backward = {1}}, 2);
};

void Drop(std::vector<Op>& program, OpKind kind, int microbatch) {
  std::erase_if(program,
                [&](const Op& op) { return op.kind == kind && op.microbatch == microbatch; });
}

TEST_F(TransferCheckTest, WhatTheSchedulesMakePasses) { EXPECT_THAT(Check(), IsOk()); }

TEST_F(TransferCheckTest, ASendThatNobodyReceivesIsNamed) {
  Drop(language_, OpKind::kPostReceive, 2);
  Drop(language_, OpKind::kWaitReceive, 2);
  EXPECT_THAT(Check(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                "encoder sends microbatches [0, 1, 2] over edge forward, language "
                                "receives [0, 1]"));
}

TEST_F(TransferCheckTest, AnotherOrderIsNamed) {
  for (Op& op : language_) {
    if (op.channel == 0 && IsTransfer(op.kind)) op.microbatch = 2 - op.microbatch;
  }
  EXPECT_THAT(Check(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                "encoder sends microbatches [0, 1, 2] over edge forward, language "
                                "receives [2, 1, 0]"));
}

}  // namespace
}  // namespace hetero
