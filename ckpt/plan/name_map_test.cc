#include "hetero/ckpt/plan/name_map.h"

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/params/shard.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A parameter of `columns` columns whose rows are z x B C dt, as a Mamba projection stores it.
struct Split {
  ParameterSpec spec;
  NameMap map;
};

Split MakeSplit(std::vector<int64_t> rows, int64_t columns) {
  const std::vector<std::string> suffix = {"z", "x", "B", "C", "dt"};
  Split split{.spec = {.name = "in_proj"}, .map = NameMap::Create({}).value()};
  DimSharding dim{.axis = ShardAxis::kTp};
  std::vector<BoxMap> boxes;
  int64_t begin = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    dim.blocks.push_back({.size = rows[i]});
    boxes.push_back({.name = "in_proj",
                     .own = {.offset = {begin, 0}, .size = {rows[i], columns}},
                     .key = "in_proj." + suffix[i],
                     .key_shape = {rows[i], columns},
                     .stored = {.offset = {0, 0}, .size = {rows[i], columns}}});
    begin += rows[i];
  }
  split.spec.shape = {begin, columns};
  split.spec.dims = {dim, {}};
  split.map = NameMap::Create(std::move(boxes)).value();
  return split;
}

std::string Describe(const std::vector<CheckpointTensor>& tensors) {
  std::string text;
  for (const CheckpointTensor& tensor : tensors) {
    for (const CheckpointTensor::Piece& piece : tensor.pieces) {
      text += tensor.key + ToString(piece.box) + " ";
    }
  }
  return text;
}

TEST(NameMapTest, AFlatRangeOfASplitParameterIsBoxesOfEachPart) {
  const Split split = MakeSplit({4, 4, 2, 2, 1}, 2);
  // z4 x4 B2 C2 dt1 of the second of two ranks: local rows z2 x2 B1 C1 and no dt would not divide;
  // the case is that of local rows 4 4 2 2 1, so the parameter has twice as many.
  const Split whole = MakeSplit({8, 8, 4, 4, 2}, 2);
  const Shard shard = ShardOf(whole.spec, {.tp = {.rank = 1, .size = 2}}).value();
  ASSERT_THAT(shard.shape, ElementsAre(13, 2));
  std::vector<float> flat(12);
  std::iota(flat.begin(), flat.end(), 7.0f);
  const std::vector<StateTensor> states =
      FlatStates("exp_avg.in_proj", whole.spec, shard, {.begin = 7, .count = 12},
                 TensorView(std::span<float>(flat), {12}));
  const std::vector<CheckpointTensor> tensors =
      whole.map.Apply(states, "exp_avg.", "state.exp_avg.").value();
  EXPECT_EQ(Describe(tensors),
            "state.exp_avg.in_proj.B[2,0]+[1,2] state.exp_avg.in_proj.B[3,0]+[1,1] "
            "state.exp_avg.in_proj.x[4,0]+[4,2] state.exp_avg.in_proj.z[7,1]+[1,1] ");
  EXPECT_EQ(tensors[1].pieces[0].local.data<float>()[0], 8);
  EXPECT_EQ(tensors[0].pieces[1].local.data<float>()[0], 18);
}

// Where local rows of a rank lie in the whole tensor, by the parts' order.
TEST(NameMapTest, RowsOfFusedMambaTensorsLieInTheirParts) {
  const std::vector<int64_t> rows = {4096, 4096, 1024, 1024, 64};
  const Split split = MakeSplit(rows, 1);
  const auto fused_row = [&](int64_t size, int64_t rank, int64_t local) -> int64_t {
    const Shard shard = ShardOf(split.spec, {.tp = {.rank = rank, .size = size}}).value();
    std::vector<float> values(shard.shape[0]);
    values[local] = 1;
    const StateTensor state{.name = "in_proj",
                            .shape = split.spec.shape,
                            .boxes = shard.boxes,
                            .local = TensorView(std::span<float>(values), {shard.shape[0], 1})};
    const std::vector<CheckpointTensor> tensors = split.map.Apply({{state}}).value();
    const std::vector<std::string> order = {"in_proj.z", "in_proj.x", "in_proj.B", "in_proj.C",
                                            "in_proj.dt"};
    for (const CheckpointTensor& tensor : tensors) {
      for (const CheckpointTensor::Piece& piece : tensor.pieces) {
        for (int64_t i = 0; i < piece.box.size[0]; ++i) {
          if (piece.local.data<float>()[i] != 1) continue;
          int64_t begin = 0;
          for (size_t part = 0; order[part] != tensor.key; ++part) begin += rows[part];
          return begin + piece.box.offset[0] + i;
        }
      }
    }
    return -1;
  };
  const std::vector<std::vector<int64_t>> expected = {
      // size, rank, local row, row of the whole tensor
      {2, 0, 0, 0},        {2, 0, 2047, 2047},  {2, 0, 2048, 4096},  {2, 0, 4096, 8192},
      {2, 0, 4608, 9216},  {2, 0, 5120, 10240}, {2, 0, 5151, 10271}, {2, 1, 0, 2048},
      {2, 1, 2047, 4095},  {2, 1, 2048, 6144},  {2, 1, 4096, 8704},  {2, 1, 4608, 9728},
      {2, 1, 5120, 10272}, {2, 1, 5151, 10303}, {4, 3, 0, 3072},     {4, 3, 1024, 7168},
      {4, 3, 2048, 8960},  {4, 3, 2304, 9984},  {4, 3, 2560, 10288}, {4, 3, 2575, 10303}};
  for (const std::vector<int64_t>& row : expected) {
    EXPECT_EQ(fused_row(row[0], row[1], row[2]), row[3]) << "tp " << row[0] << " rank " << row[1];
  }
}

TEST(NameMapTest, LayersStackAndExpertsComeOutOfTheirTensor) {
  std::vector<BoxMap> boxes;
  for (int64_t layer = 0; layer < 32; ++layer) {
    boxes.push_back({.name = "layers." + std::to_string(layer),
                     .own = WholeBox(std::vector<int64_t>{3840, 4}),
                     .key = "decoder.layers.qkv",
                     .key_shape = {32, 3840, 4},
                     .stored = {.offset = {layer, 0, 0}, .size = {1, 3840, 4}}});
  }
  for (int64_t expert = 0; expert < 2; ++expert) {
    boxes.push_back({.name = "experts",
                     .own = {.offset = {expert, 0, 0}, .size = {1, 3, 4}},
                     .key = "experts." + std::to_string(expert),
                     .key_shape = {3, 4},
                     .stored = WholeBox(std::vector<int64_t>{3, 4})});
  }
  const NameMap map = NameMap::Create(std::move(boxes)).value();
  std::vector<float> qkv(1920 * 4), experts(4);
  const std::vector<StateTensor> states = {
      {.name = "layers.5",
       .shape = {3840, 4},
       .boxes = {{.logical_begin = {1920, 0}, .local_begin = {0, 0}, .extent = {1920, 4}}},
       .local = TensorView(std::span<float>(qkv), {1920, 4})},
      {.name = "experts",
       .shape = {2, 3, 4},
       .boxes = {{.logical_begin = {1, 2, 0}, .local_begin = {0, 0, 0}, .extent = {1, 1, 4}}},
       .local = TensorView(std::span<float>(experts), {1, 1, 4})}};
  EXPECT_EQ(Describe(map.Apply(states).value()),
            "decoder.layers.qkv[5,1920,0]+[1,1920,4] experts.1[2,0]+[1,4] ");
}

// A rank's part of a tensor of four dims, divided along the first and third.
TEST(NameMapTest, PartsOfADividedTensorAreDividedAlike) {
  const DimSharding ten{.axis = ShardAxis::kEp};
  const DimSharding six{.axis = ShardAxis::kTp, .blocks = {{18}, {12}, {12}}};
  const ParameterSpec spec{.name = "w", .shape = {10, 3, 42, 9}, .dims = {ten, {}, six, {}}};
  const Shard shard = ShardOf(spec, {.tp = {3, 6}, .ep = {0, 10}}).value();
  ASSERT_THAT(shard.shape, ElementsAre(1, 3, 7, 9));
  std::vector<float> memory(3 * 7 * 9);
  const std::vector<StateTensor> states = {
      {.name = "w",
       .shape = spec.shape,
       .boxes = shard.boxes,
       .local = TensorView(std::span<float>(memory), {1, 3, 7, 9})}};
  // Of dim 1 the entries from 1 on, and the rest.
  const NameMap columns = NameMap::Create({{.name = "w",
                                            .own = {{0, 0, 0, 0}, {10, 1, 42, 9}},
                                            .key = "first",
                                            .key_shape = {10, 1, 42, 9},
                                            .stored = {{0, 0, 0, 0}, {10, 1, 42, 9}}},
                                           {.name = "w",
                                            .own = {{0, 1, 0, 0}, {10, 2, 42, 9}},
                                            .key = "others",
                                            .key_shape = {10, 2, 42, 9},
                                            .stored = {{0, 0, 0, 0}, {10, 2, 42, 9}}}})
                              .value();
  const std::vector<CheckpointTensor> parts = columns.Apply(states).value();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_THAT(parts[1].shape, ElementsAre(10, 2, 42, 9));
  int64_t elements = 0;
  for (const CheckpointTensor::Piece& piece : parts[1].pieces) {
    EXPECT_EQ(piece.box.size[1], 2);
    elements += NumElements(piece.box);
  }
  EXPECT_EQ(elements, 2 * 7 * 9);
  // Of dim 2 the three blocks: 3, 2 and 2 of the rank's 7 entries.
  std::vector<BoxMap> blocks;
  for (const auto& [begin, size] : {std::pair<int64_t, int64_t>{0, 18}, {18, 12}, {30, 12}}) {
    blocks.push_back({.name = "w",
                      .own = {{0, 0, begin, 0}, {10, 3, size, 9}},
                      .key = "block" + std::to_string(begin),
                      .key_shape = {10, 3, size, 9},
                      .stored = {{0, 0, 0, 0}, {10, 3, size, 9}}});
  }
  const NameMap rows = NameMap::Create(std::move(blocks)).value();
  EXPECT_EQ(Describe(rows.Apply(states).value()),
            "block0[0,0,9,0]+[1,3,3,9] block18[0,0,6,0]+[1,3,2,9] block30[0,0,6,0]+[1,3,2,9] ");
}

TEST(NameMapTest, WhatIsNotCoveredOnceIsRefused) {
  const BoxMap half{.name = "w",
                    .own = {.offset = {0, 0}, .size = {2, 8}},
                    .key = "k",
                    .key_shape = {4, 8},
                    .stored = {.offset = {0, 0}, .size = {2, 8}}};
  EXPECT_THAT(NameMap::Create({half}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("not covered"), HasSubstr("[2,0]+[2,8] of k"))));
  EXPECT_THAT(NameMap::Create({half, half}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("overlap")));
  BoxMap transposed = half;
  transposed.stored.size = {8, 2};
  EXPECT_THAT(NameMap::Create({transposed}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be")));
}

TEST(NameMapTest, UnknownStatesAndOtherShapesAreNamed) {
  const Split split = MakeSplit({4, 4, 2, 2, 1}, 2);
  std::vector<float> value(26);
  const TensorView view(std::span<float>(value), {13, 2});
  EXPECT_THAT(split.map.Apply({{{.name = "other", .shape = {13, 2}, .local = view}}}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("other")));
  EXPECT_THAT(split.map.Apply({{{.name = "in_proj", .shape = {13, 3}, .local = view}}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("[13,3]"), HasSubstr("[13,2]"))));
}

}  // namespace
}  // namespace hetero
