#include "hetero/trainer/step/order_rules.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/schedule.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

absl::Status Check(const std::vector<Op>& program) {
  return CheckOrder(program, [](const Op& op) { return ToString(op); });
}

// The middle of three stages.
std::vector<Op> Middle(int m, int receives_ahead, std::optional<int> weight_delay = {}) {
  const int delay = weight_delay.value_or(0);
  std::vector<Op> program = MakePipelineProgram({.num_microbatches = m,
                                                 .warmup = 1,
                                                 .num_slots = std::min(m, 2 + delay),
                                                 .weight_delay = weight_delay,
                                                 .receive_forward = {ForwardChannel(0)},
                                                 .send_forward = {ForwardChannel(1)},
                                                 .receive_backward = {BackwardChannel(1)},
                                                 .send_backward = {BackwardChannel(0)}},
                                                receives_ahead);
  for (const OpKind kind : {OpKind::kReduceGradients, OpKind::kUpdate, OpKind::kGatherParameters,
                            OpKind::kFinishStep}) {
    program.push_back({.kind = kind});
  }
  return program;
}

size_t Place(const std::vector<Op>& program, std::string_view text) {
  const auto found =
      std::ranges::find_if(program, [&](const Op& op) { return ToString(op) == text; });
  EXPECT_NE(found, program.end()) << text;
  return found - program.begin();
}

std::vector<Op> Swapped(std::vector<Op> program, std::string_view a, std::string_view b) {
  std::swap(program[Place(program, a)], program[Place(program, b)]);
  return program;
}

std::vector<Op> Without(std::vector<Op> program, std::string_view text) {
  program.erase(program.begin() + static_cast<std::ptrdiff_t>(Place(program, text)));
  return program;
}

void ExpectRefused(const std::vector<Op>& program, std::string_view message) {
  EXPECT_THAT(Check(program),
              StatusIs(absl::StatusCode::kFailedPrecondition, std::string(message)));
}

TEST(CheckOrderTest, WhatTheScheduleMakesIsInOrder) {
  for (int m = 1; m < 9; ++m) {
    for (const int ahead : {0, 1, 2, 4}) {
      EXPECT_THAT(Check(Middle(m, ahead)), IsOk()) << m << " " << ahead;
      for (const int delay : {0, 1, 2, 5}) {
        EXPECT_THAT(Check(Middle(m, ahead, delay)), IsOk()) << m << " " << ahead << " " << delay;
      }
    }
  }
}

TEST(CheckOrderTest, SwappedOperationsAreNamed) {
  ExpectRefused(Swapped(Middle(4, 2), "F1", "B1"), "B1 comes before F1");
  ExpectRefused(Swapped(Middle(4, 2), "L1", "F1"), "F1 comes before L1");
  ExpectRefused(Swapped(Middle(4, 2), "F1", "+sf1"), "+sf1 comes before F1");
  ExpectRefused(Swapped(Middle(4, 2), "rb1", "B1"), "rb1 comes behind B1");
  ExpectRefused(Swapped(Middle(4, 2), "rf1", "F1"), "F1 comes before L1");
  ExpectRefused(Swapped(Middle(4, 2), "rf0", "rf1"),
                "rf1 is waited for before microbatch 0, which was posted before it");
  ExpectRefused(Swapped(Middle(4, 2), "B3", "G"), "B3 does not come before its stage's step ends");
  ExpectRefused(Swapped(Middle(4, 2), "S", "U"), "S comes before U");
  ExpectRefused(Swapped(Middle(4, 2), "P", "U"), "P comes before U");
  ExpectRefused(Without(Middle(4, 2), "P"), "P does not follow G");
  const std::vector<Op> alone =
      MakePipelineProgram({.num_microbatches = 4, .warmup = 1, .num_slots = 2}, 0);
  ExpectRefused(Swapped(alone, "B2", "B3"), "B2 comes behind B3");
  ExpectRefused(Swapped(Middle(4, 2), "G", "U"), "U comes before G");
}

TEST(CheckOrderTest, AWeightHalfComesBehindItsInputHalfAndBeforeTheGradientSum) {
  ExpectRefused(Swapped(Middle(4, 2, 1), "I1", "W1"), "W1 comes before I1");
  ExpectRefused(Swapped(Middle(4, 2, 1), "W2", "W3"), "W3 comes before W2");
  ExpectRefused(Without(Middle(4, 2, 1), "W3"), "W3 does not come before its stage's step ends");
  ExpectRefused(Swapped(Middle(4, 2, 1), "W3", "G"),
                "W3 does not come before its stage's step ends");
  ExpectRefused(Swapped(Middle(4, 2, 1), "I1", "+sb1"), "+sb1 comes before I1");
}

// What a weight half reads lies in the microbatch's slot until then.
TEST(CheckOrderTest, ASlotIsKeptForTheWeightHalf) {
  std::vector<Op> program = Middle(6, 2, 2);
  for (Op& op : program) op.slot = op.microbatch % 3;
  ExpectRefused(program, "L3 takes slot 0 from microbatch 0, which is not done with it");
}

TEST(CheckOrderTest, EveryTransferIsWaitedFor) {
  ExpectRefused(Without(Middle(4, 2), "+rb3"), "rb3 is waited for and was not posted");
  ExpectRefused(Without(Middle(4, 0), "sb3"), "+sb3 is not waited for");
  ExpectRefused(Without(Middle(4, 2), "rf3"), "+rf3 is not waited for");
  ExpectRefused(Without(Middle(4, 2), "rb2"),
                "rb3 is waited for before microbatch 2, which was posted before it");
}

}  // namespace
}  // namespace hetero
