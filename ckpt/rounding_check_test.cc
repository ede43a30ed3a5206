#include "hetero/ckpt/rounding_check.h"

#include <cstdint>
#include <limits>
#include <span>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A weight [4,8] of which a rank has columns 2 to 5, and the masters of its rows 1 and 2, as an
// optimizer's share of it.
class RoundingCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CheckpointTensor weight = weight_.tensor(), master = master_.tensor();
    weight.pieces[0].box = {{0, 2}, {4, 4}};
    weight.pieces[0].local = weight.pieces[0].local.Columns(2, 4);
    master.pieces[0].box = {{1, 2}, {2, 4}};
    master.pieces[0].local = master.pieces[0].local.Rows(1, 2).Columns(1, 4);
    state_.tensors = {weight, master};
    for (int64_t row = 0; row < 4; ++row) {
      for (int64_t column = 0; column < 8; ++column) {
        Weight(row, column) = BFloat16(Value(row, column));
        Master(row, column) = -1;
      }
    }
    for (int64_t row = 1; row < 3; ++row) {
      for (int64_t column = 2; column < 6; ++column) Master(row, column - 1) = Value(row, column);
    }
  }

  // Rounded by less than half a unit of the last place.
  static float Value(int64_t row, int64_t column) {
    return static_cast<float>(8 * row + column + 64) + 0.2f;
  }

  // Of the memory of both, in their own rows and columns.
  BFloat16& Weight(int64_t row, int64_t column) {
    return weight_.tensor().pieces[0].local.data<BFloat16>()[8 * row + column];
  }
  float& Master(int64_t row, int64_t column) {
    return master_.tensor().pieces[0].local.data<float>()[8 * row + column];
  }

  absl::Status Check(const std::vector<std::string>& left_out = {}) {
    return CheckRoundings(state_, "param.", left_out, stream_);
  }

  WholeTensor weight_{"w", DType::kBF16, {4, 8}}, master_{"param.w", DType::kF32, {4, 8}};
  CheckpointState state_;
  Arena workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream_{Device{}, workspace_};
};

TEST_F(RoundingCheckTest, WhatARankHasOfBothIsCompared) {
  EXPECT_THAT(Check(), IsOk());
  // Nobody has their masters here.
  Weight(0, 3) = BFloat16(7);
  Weight(1, 7) = BFloat16(7);
  EXPECT_THAT(Check(), IsOk());
  Weight(2, 4) = BFloat16(7);
  Master(1, 2) = 75.75f;
  EXPECT_THAT(Check(), StatusIs(absl::StatusCode::kDataLoss,
                                AllOf(HasSubstr("param.w does not round to w: 2 of 8 elements"),
                                      HasSubstr("75.75 and 75, element 1 of [1,2]+[2,4]"))));
  EXPECT_THAT(Check({"param.w"}), IsOk());
  EXPECT_THAT(Check({"w"}), IsOk());
}

// Whatever its sign and payload, which devices choose.
TEST_F(RoundingCheckTest, WhatIsNoNumberStaysNone) {
  Weight(1, 2) = BFloat16(-std::numeric_limits<float>::quiet_NaN());
  Master(1, 1) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Check(), IsOk());
  Master(1, 1) = Value(1, 2);
  EXPECT_THAT(Check(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("1 of 8 elements")));
}

TEST_F(RoundingCheckTest, WeightsThatAreTheirOwnMastersAreNoPair) {
  state_.tensors[0].dtype = DType::kF32;
  EXPECT_THAT(Check(), IsOk());
}

}  // namespace
}  // namespace hetero
