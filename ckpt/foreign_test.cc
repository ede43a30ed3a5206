// Checkpoints that PyTorch and Megatron wrote (ckpt/format/testdata/generate.py).

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kFolder[] = "ckpt/format/testdata/";

TEST(ForeignTest, RowsOfTwoProcessesGoToThreeColumnsOfRanks) {
  PosixStorage storage;
  const std::vector<int64_t> first = {0, 3, 5}, count = {3, 2, 3};
  EXPECT_THAT(RunWorld(3,
                       [&](RankInWorld world) -> absl::Status {
                         WholeTensor whole("w", DType::kF32, {4, 8});
                         CheckpointTensor columns = whole.tensor();
                         const int64_t begin = first[world.rank], size = count[world.rank];
                         columns.pieces[0].box = {{0, begin}, {4, size}};
                         columns.pieces[0].local = columns.pieces[0].local.Columns(begin, size);
                         CheckpointState state{.tensors = {columns}};
                         HETERO_RETURN_IF_ERROR(Load(storage, std::string(kFolder) + "sharded",
                                                     state, world.exchange, {.foreign = true},
                                                     world.stream, world.memory));
                         EXPECT_EQ(PatternDifference(state.tensors), "") << "rank " << world.rank;
                         return absl::OkStatus();
                       }),
              IsOk());
}

TEST(ForeignTest, MegatronsTensorsAndObjectsAreFound) {
  PosixStorage storage;
  const WholeTensor w("language_model.w", DType::kBF16, {4, 8});
  const WholeTensor experts("language_model.decoder.layers.1.mlp.experts.experts.linear_fc1.weight",
                            DType::kF32, {2, 3, 2});
  CheckpointState state{.tensors = {w.tensor(), experts.tensor()},
                        .objects = {{.name = "language.rng_state/shard_0.0_1.1"}}};
  const absl::StatusOr<LoadReport> report =
      LoadAlone(storage, std::string(kFolder) + "mcore", state, {.foreign = true});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->unused, ::testing::Contains("lin._extra_state/shard_0_1"));
  // The values are those of other names.
  state.tensors[0].key = "w";
  state.tensors[1].key = "exp.weight";
  EXPECT_EQ(PatternDifference(state.tensors), "");
  EXPECT_EQ(state.objects[0].value["seed"], (uint64_t{1} << 63) + 5);
}

TEST(ForeignTest, ShardedSafetensorsGoToRowsOfThreeRanks) {
  PosixStorage storage;
  const std::vector<int64_t> first = {0, 1, 3}, count = {1, 2, 1};
  EXPECT_THAT(RunWorld(3,
                       [&](RankInWorld world) -> absl::Status {
                         WholeTensor w("w", DType::kF32, {4, 8}), e("e", DType::kBF16, {4, 3, 2}),
                             b("b", DType::kBF16, {5}), s("s", DType::kF32, {});
                         CheckpointTensor rows = w.tensor();
                         const int64_t begin = first[world.rank], size = count[world.rank];
                         rows.pieces[0].box = {{begin, 0}, {size, 8}};
                         rows.pieces[0].local = rows.pieces[0].local.Rows(begin, size);
                         CheckpointState state{.tensors = {rows, e.tensor(), b.tensor()}};
                         HETERO_RETURN_IF_ERROR(Load(storage, "ckpt/safetensors/testdata/sharded",
                                                     state, world.exchange, {.foreign = true},
                                                     world.stream, world.memory));
                         EXPECT_EQ(PatternDifference(state.tensors), "") << "rank " << world.rank;
                         CheckpointState scalar{.tensors = {s.tensor()}};
                         HETERO_RETURN_IF_ERROR(Load(storage, "ckpt/safetensors/testdata/sharded",
                                                     scalar, world.exchange, {.foreign = true},
                                                     world.stream, world.memory));
                         EXPECT_EQ(s.Floats(), std::vector<float>{2.5f});
                         return absl::OkStatus();
                       }),
              IsOk());
}

TEST(ForeignTest, TypesThatWeDoNotComputeWithAreNamed) {
  PosixStorage storage;
  const WholeTensor half("types.f16", DType::kF32, {3, 2});
  CheckpointState state{.tensors = {half.tensor()}};
  EXPECT_THAT(
      LoadAlone(storage, std::string(kFolder) + "dcp", state, {.cast = true, .foreign = true}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("types.f16 is f16 in the checkpoint and f32")));
  const WholeTensor w("model.w", DType::kF32, {4, 8}), scalar("scalar", DType::kF32, {}),
      empty("empty", DType::kF32, {0, 3});
  CheckpointState rest{.tensors = {w.tensor(), scalar.tensor(), empty.tensor()}};
  ASSERT_THAT(LoadAlone(storage, std::string(kFolder) + "dcp", rest, {.foreign = true}), IsOk());
  EXPECT_EQ(scalar.Floats(), std::vector<float>{2.5f});
  rest.tensors = {w.tensor()};
  rest.tensors[0].key = "w";
  EXPECT_EQ(PatternDifference(rest.tensors), "");
}

}  // namespace
}  // namespace hetero
