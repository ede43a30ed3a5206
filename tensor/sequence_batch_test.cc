#include "hetero/tensor/sequence_batch.h"

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// Two rows of four tokens.
class SequenceBatchTest : public ::testing::Test {
 protected:
  SequenceBatch Rows(std::vector<int32_t> cu_seqlens) {
    borders_ = std::move(cu_seqlens);
    return {.num_rows = 2, .row_length = 4, .cu_seqlens = borders_};
  }
  ConstTensorView Index() const { return {index_.data(), DType::kI32, {8}}; }
  void ExpectRefused(const SequenceBatch& sequences, std::string_view why) {
    EXPECT_THAT(Validate(sequences, 8),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  }

  std::vector<int32_t> borders_;
  std::vector<int32_t> index_ = {0, 0, 1, 1, 2, 2, 2, 2};
  std::vector<int32_t> offsets_ = {0, 3, 3};
};

TEST_F(SequenceBatchTest, BordersInsideARowNeedTheIndex) {
  SequenceBatch packed = Rows({0, 2, 4, 8});
  ExpectRefused(packed, "cu_seqlens has 2, inside row 0, and sequence_index is null");
  packed.sequence_index = Index();
  EXPECT_THAT(Validate(packed, 8), IsOk());
  EXPECT_THAT(Validate(Rows({0, 4, 4, 8}), 8), IsOk()) << "an empty sequence";
  EXPECT_THAT(Validate(Rows({}), 8), IsOk());
}

TEST_F(SequenceBatchTest, BordersCoverTheRows) {
  ExpectRefused(Rows({0, 8}),
                "cu_seqlens has 8 behind 0; expected numbers that ascend from 0 to 8");
  ExpectRefused(Rows({4, 8}), "cu_seqlens has 4 behind 0");
  ExpectRefused(Rows({0, 4}), "cu_seqlens ends at 4; expected 8");
  SequenceBatch beyond = Rows({0, 4, 8, 9});
  beyond.sequence_index = Index();
  ExpectRefused(beyond, "cu_seqlens ends at 9; expected 8");
  SequenceBatch back = Rows({0, 3, 2, 4, 8});
  back.sequence_index = Index();
  ExpectRefused(back, "cu_seqlens has 2 behind 3");
}

TEST_F(SequenceBatchTest, TokenOffsetsAreOnBothSides) {
  SequenceBatch padded = Rows({0, 4, 8});
  EXPECT_EQ(padded.num_unpadded_tokens(), 8);
  padded.token_offsets = offsets_;
  ExpectRefused(padded, "device_token_offsets");
  padded.device_token_offsets = {offsets_.data(), DType::kI32, {3}};
  EXPECT_THAT(Validate(padded, 8), IsOk());
  EXPECT_EQ(padded.num_unpadded_tokens(), 3);
  offsets_[1] = 5;
  ExpectRefused(padded, "token_offsets gives row 0 5 tokens; expected 0 to 4");
  offsets_ = {0, 2, 1};
  ExpectRefused(padded, "token_offsets gives row 1 -1 tokens");
  padded.token_offsets = {};
  ExpectRefused(padded, "token_offsets has 0 numbers; expected 3");
}

}  // namespace
}  // namespace hetero
