#include "hetero/models/blocks/sequence_parallel.h"

#include <cstdint>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/parallel_rig.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kWidth = 5;

// Own rows to all, a part of all on every rank, and the sum of the parts back to own rows.
absl::Status RunAround(ParallelRig& rig, int64_t tokens) {
  const SequenceParallel sequence(rig.communicators().Of(Family::kTp));
  Stream& stream = rig.context().stream;
  Arena& activations = rig.context().activations;
  for (const int64_t lane : rig.lanes()) {
    const TensorView own_RC = rig.OwnRows(rig.Normal("x", lane, tokens, kWidth));
    HETERO_ASSIGN_OR_RETURN(const ConstTensorView all_TC,
                            sequence.Gather(own_RC, tokens, activations, stream, "gather"));
    rig.KeepSame("all", lane, all_TC);

    HETERO_ASSIGN_OR_RETURN(
        const TensorView part_TC,
        sequence.AllocatePart(DType::kF64, tokens, kWidth, activations, stream));
    if (!rig.shape_only()) {
      const double ranks = static_cast<double>(sequence.size());
      const double share = 2 * static_cast<double>(sequence.rank() + 1) / (ranks * (ranks + 1));
      for (int64_t i = 0; i < tokens * kWidth; ++i) {
        part_TC.data<double>()[i] = share * all_TC.data<double>()[i];
      }
    }
    const TensorView sum_RC = rig.OwnRows(rig.Normal("overwritten", lane, tokens, kWidth));
    HETERO_RETURN_IF_ERROR(sequence.ReduceScatter(part_TC, sum_RC, stream, "sum"));
    rig.KeepGradientRows("sum", lane, sum_RC, tokens);
  }
  return absl::OkStatus();
}

TEST(SequenceParallelTest, PartsThatAreSummedGoBackToTheirOwners) {
  for (const int64_t tp : {2, 4}) {
    for (const int64_t tokens : {8, 21, 3}) {
      SCOPED_TRACE(tokens);
      ExpectLikeOneRank({.name = "module", .num_ranks = tp, .tp = tp},
                        [&](ParallelRig& rig) { return RunAround(rig, tokens); });
    }
  }
}

TEST(SequenceParallelTest, OneRankCopiesNothing) {
  TestContext context;
  Stream& stream = context->stream;
  double values[6] = {1, 2, 3, 4, 5, 6};
  const TensorView x(values, DType::kF64, {3, 2});
  const SequenceParallel alone;
  const absl::StatusOr<ConstTensorView> all =
      alone.Gather(x, 3, context->activations, stream, "gather");
  ASSERT_THAT(all, IsOk());
  EXPECT_EQ(all->address(), x.address());
  EXPECT_THAT(alone.ReduceScatter(x, x, stream, "sum"), IsOk());
  EXPECT_EQ(context->activations.used_bytes(), 0);
}

TEST(SequenceParallelTest, RowsOfAnotherBatchAreRefused) {
  TestContext context;
  double values[6] = {};
  const TensorView x(values, DType::kF64, {3, 2});
  EXPECT_THAT(
      SequenceParallel().Gather(x, 4, context->activations, context->stream, "l.weight").status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("l.weight: a rank of 1 has 3 rows of 4 tokens; expected 4")));
}

}  // namespace
}  // namespace hetero
