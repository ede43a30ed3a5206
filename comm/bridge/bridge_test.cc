#include "hetero/comm/bridge/bridge.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/plan_lanes.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/grid/row_plan.h"
#include "hetero/grid/token_shard.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kWidth = 3;
constexpr int64_t kSequence = 260;
const RunRanksOptions kOptions = {.timeout = absl::Seconds(30)};

enum class Delivery { kLeader, kOwners };

struct Rank {
  MemoryLedger memory;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};
};

// One microbatch: of each sample the tokens that have a row. Rows are numbered through.
struct Batch {
  std::vector<std::vector<IndexRange>> runs;

  int64_t NumRows(int64_t sample) const {
    int64_t rows = 0;
    for (const IndexRange& run : runs[static_cast<size_t>(sample)]) rows += run.count;
    return rows;
  }
};

// As many rows of each sample, in two runs.
Batch MakeBatch(const std::vector<int64_t>& counts) {
  Batch batch;
  int64_t first = 0;
  for (const int64_t count : counts) {
    std::vector<IndexRange>& runs = batch.runs.emplace_back();
    if (count > 1) runs.push_back({first % 3, count / 2});
    if (count > 0) runs.push_back({kSequence - (count + 1) / 2, (count + 1) / 2});
    ++first;
  }
  return batch;
}

RowPlan PlanOf(Delivery delivery, const Grid& source, const Grid& destination, const Batch& batch) {
  std::vector<SampleRows> samples;
  std::vector<int64_t> counts;
  for (size_t i = 0; i < batch.runs.size(); ++i) {
    counts.push_back(batch.NumRows(static_cast<int64_t>(i)));
    samples.push_back({counts.back(), kSequence, batch.runs[i]});
  }
  return (delivery == Delivery::kLeader
              ? PlanLeaderFunnel(LastStage(source), FirstStage(destination), counts)
              : PlanOwners(LastStage(source), FirstStage(destination), samples))
      .value();
}

// Of the rows of a rank's lane in order: which rows they are and which tokens of the lane.
struct LaneRow {
  int64_t row;
  int64_t token;
};

std::vector<LaneRow> LaneRows(const Grid& grid, GlobalRank rank, const Batch& batch) {
  const int64_t per_lane = std::ssize(batch.runs) / grid.num_lanes();
  const int64_t first = grid.LaneOf(rank).value() * per_lane;
  std::vector<LaneRow> rows;
  int64_t row = 0;
  for (int64_t sample = 0; sample < first + per_lane; ++sample) {
    for (const IndexRange& run : batch.runs[static_cast<size_t>(sample)]) {
      for (int64_t token = run.first; token < run.end(); ++token, ++row) {
        if (sample >= first) rows.push_back({row, (sample - first) * kSequence + token});
      }
    }
  }
  return rows;
}

void AppendTags(int64_t row, int64_t microbatch, float offset, std::vector<float>& tags) {
  for (int64_t column = 0; column < kWidth; ++column) {
    tags.push_back(offset + static_cast<float>(microbatch * 10000 + row * 10 + column));
  }
}

// What a source rank holds: all rows of its lane, or its share of them and zeros.
std::vector<float> SourceTags(const Grid& grid, GlobalRank rank, const Batch& batch,
                              int64_t microbatch, float offset, bool owners) {
  const std::vector<LaneRow> rows = LaneRows(grid, rank, batch);
  const TokenShard shard = {
      .num_tokens = std::ssize(rows),
      .size = owners ? grid.Size(Axis::kTp) : 1,
      .rank = owners ? grid.Coord(rank, Axis::kTp) : 0,
  };
  std::vector<float> tags;
  for (int64_t i = shard.begin(); i < shard.begin() + shard.num_owned(); ++i) {
    AppendTags(rows[static_cast<size_t>(i)].row, microbatch, offset, tags);
  }
  tags.resize(static_cast<size_t>(shard.rows() * kWidth), 0.0f);
  return tags;
}

// What a destination rank holds: all rows of its lane, or those whose tokens it owns.
std::vector<float> DestinationTags(const Grid& grid, GlobalRank rank, const Batch& batch,
                                   int64_t microbatch, float offset, bool owners) {
  const TokenShard shard = {.num_tokens = std::ssize(batch.runs) / grid.num_lanes() * kSequence,
                            .size = grid.Size(Axis::kTp)};
  std::vector<float> tags;
  for (const LaneRow& row : LaneRows(grid, rank, batch)) {
    if (owners && shard.OwnerOf(row.token) != grid.Coord(rank, Axis::kTp)) continue;
    AppendTags(row.row, microbatch, offset, tags);
  }
  return tags;
}

absl::Status Expect(const TensorView& actual, const std::vector<float>& expected,
                    std::string_view what) {
  if (std::ranges::equal(actual.values<float>(), expected)) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, " got ", actual.ToString(),
                                          ", other rows than the ", expected.size() / kWidth,
                                          " expected"));
}

// Sends every batch forward and its rows + 0.5 back, all in flight at once, on every rank of both
// grids, and compares bits.
absl::Status RoundTrip(const GridSpec& source_spec, const GridSpec& destination_spec,
                       Delivery delivery, const std::vector<Batch>& batches) {
  const Grid source = Grid::Make(source_spec).value();
  const Grid destination = Grid::Make(destination_spec).value();
  const bool owners = delivery == Delivery::kOwners;
  std::vector<RowPlan> plans;
  for (const Batch& batch : batches) {
    plans.push_back(PlanOf(delivery, source, destination, batch));
  }
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    if (FindReplicaSet(plans[0].sources, rank) == nullptr &&
        FindReplicaSet(plans[0].destinations, rank) == nullptr) {
      return absl::OkStatus();
    }
    Rank self;
    const auto num_batches = static_cast<int64_t>(batches.size());
    HETERO_ASSIGN_OR_RETURN(auto bridge, Bridge::Create({.width = kWidth,
                                                         .num_forward_slots = num_batches,
                                                         .num_backward_slots = num_batches,
                                                         .max_forward_rows = 1000,
                                                         .max_backward_rows = 1000},
                                                        source, destination, plans[0], rank,
                                                        factory, Device{}, self.memory));
    const bool sends = bridge->forward().is_source();
    const bool receives = bridge->forward().is_destination();
    std::vector<std::vector<float>> activations(batches.size()), gradients(batches.size());
    std::vector<std::unique_ptr<BridgeReceive>> forward, backward;
    std::vector<std::unique_ptr<TransferHandle>> sent;
    const auto view = [](std::vector<float>& rows) {
      return TensorView(std::span<float>(rows),
                        {static_cast<int64_t>(rows.size()) / kWidth, kWidth});
    };
    for (int64_t i = 0; i < num_batches; ++i) {
      const RowPlan& plan = plans[static_cast<size_t>(i)];
      if (receives) {
        HETERO_ASSIGN_OR_RETURN(forward.emplace_back(),
                                bridge->forward().PostReceive(plan, i, self.stream));
      }
      if (sends) {
        HETERO_ASSIGN_OR_RETURN(backward.emplace_back(),
                                bridge->backward().PostReceive(Inverse(plan), i, self.stream));
      }
    }
    for (int64_t i = 0; sends && i < num_batches; ++i) {
      const auto at = static_cast<size_t>(i);
      activations[at] = SourceTags(source, rank, batches[at], i, 0.0f, owners);
      HETERO_ASSIGN_OR_RETURN(
          sent.emplace_back(),
          bridge->forward().Send(view(activations[at]), plans[at], i, self.stream));
    }
    for (int64_t i = 0; receives && i < num_batches; ++i) {
      const auto at = static_cast<size_t>(i);
      HETERO_ASSIGN_OR_RETURN(const TensorView rows, forward[at]->Wait(self.stream));
      HETERO_RETURN_IF_ERROR(Expect(
          rows, DestinationTags(destination, rank, batches[at], i, 0.0f, owners), "forward"));
      gradients[at] = DestinationTags(destination, rank, batches[at], i, 0.5f, owners);
      HETERO_ASSIGN_OR_RETURN(
          sent.emplace_back(),
          bridge->backward().Send(view(gradients[at]), Inverse(plans[at]), i, self.stream));
    }
    for (int64_t i = 0; sends && i < num_batches; ++i) {
      const auto at = static_cast<size_t>(i);
      HETERO_ASSIGN_OR_RETURN(const TensorView rows, backward[at]->Wait(self.stream));
      HETERO_RETURN_IF_ERROR(
          Expect(rows, SourceTags(source, rank, batches[at], i, 0.5f, owners), "backward"));
    }
    for (auto& handle : sent) HETERO_RETURN_IF_ERROR(handle->Wait());
    return absl::OkStatus();
  };
  const int64_t world = std::max(source_spec.rank_offset + source_spec.num_ranks,
                                 destination_spec.rank_offset + destination_spec.num_ranks);
  return RunRanks(world, run, kOptions);
}

struct Case {
  std::string label;
  GridSpec source;
  GridSpec destination;
};

std::vector<Case> Cases() {
  std::vector<Case> cases = {
      {"tp2dp2_tp2dp2", {.num_ranks = 4, .tp = 2}, {.num_ranks = 4, .tp = 2, .rank_offset = 4}},
      {"tp2dp2_tp4", {.num_ranks = 4, .tp = 2}, {.num_ranks = 4, .tp = 4, .rank_offset = 4}},
      {"dp4_tp2pp2", {.num_ranks = 4}, {.num_ranks = 4, .tp = 2, .pp = 2, .rank_offset = 4}},
      {"tp4_tp2dp2", {.num_ranks = 4, .tp = 4}, {.num_ranks = 4, .tp = 2, .rank_offset = 4}},
      {"tp2pp2_dp4", {.num_ranks = 4, .tp = 2, .pp = 2}, {.num_ranks = 4, .rank_offset = 4}},
      {"dp2_tp2pp3", {.num_ranks = 2}, {.num_ranks = 6, .tp = 2, .pp = 3, .rank_offset = 2}},
      {"tp2dp2_tp2gtp2",
       {.num_ranks = 4, .tp = 2},
       {.num_ranks = 4, .tp = 2, .gtp_remat = 2, .rank_offset = 4}},
      {"dp8_tp2dp32", {.num_ranks = 8}, {.num_ranks = 64, .tp = 2, .rank_offset = 8}},
      {"dp2_dp3", {.num_ranks = 2}, {.num_ranks = 3, .rank_offset = 2}},
      {"dp3_tp2dp2", {.num_ranks = 3}, {.num_ranks = 4, .tp = 2, .rank_offset = 3}},
      {"one_one", {.num_ranks = 1}, {.num_ranks = 1, .rank_offset = 1}}};
  for (Case& c : cases) {
    c.source.name = "vision";
    c.destination.name = "language";
  }
  return cases;
}

class BridgeLayoutTest : public testing::TestWithParam<std::tuple<Case, Delivery>> {};

std::string LabelOf(const testing::TestParamInfo<std::tuple<Case, Delivery>>& info) {
  return absl::StrCat(std::get<0>(info.param).label,
                      std::get<1>(info.param) == Delivery::kLeader ? "_leader" : "_owners");
}

INSTANTIATE_TEST_SUITE_P(Layouts, BridgeLayoutTest,
                         testing::Combine(testing::ValuesIn(Cases()),
                                          testing::Values(Delivery::kLeader, Delivery::kOwners)),
                         LabelOf);

TEST_P(BridgeLayoutTest, EveryRowArrivesOnceAndItsGradientReturns) {
  const auto& [layout, delivery] = GetParam();
  const int64_t samples = 2 * std::lcm(Grid::Make(layout.source).value().num_lanes(),
                                       Grid::Make(layout.destination).value().num_lanes());
  std::mt19937_64 random = FreshGenerator();
  std::vector<Batch> batches;
  for (int i = 0; i < 3; ++i) {
    std::vector<int64_t> counts;
    for (int64_t j = 0; j < samples; ++j) counts.push_back(random() % 3 * (random() % 7));
    batches.push_back(MakeBatch(counts));
  }
  batches.push_back(MakeBatch(std::vector<int64_t>(static_cast<size_t>(samples), 0)));  // text only
  EXPECT_THAT(RoundTrip(layout.source, layout.destination, delivery, batches), IsOk());
}

TEST(BridgeTest, UnevenFanInReturnsEachLaneItsOwnRows) {
  const GridSpec source = {.name = "vision", .num_ranks = 2};
  const GridSpec destination = {.name = "language", .num_ranks = 2, .tp = 2, .rank_offset = 2};
  for (const Delivery delivery : {Delivery::kLeader, Delivery::kOwners}) {
    EXPECT_THAT(RoundTrip(source, destination, delivery,
                          {MakeBatch({256, 64}), MakeBatch({0, 64}), MakeBatch({64, 256})}),
                IsOk());
  }
}

TEST(BridgeTest, ModulesThatShareTheirRanksCopyWhatStays) {
  const std::vector<std::pair<GridSpec, GridSpec>> pairs = {
      {{.num_ranks = 4, .tp = 1}, {.num_ranks = 4, .tp = 2}},
      {{.num_ranks = 4, .tp = 2}, {.num_ranks = 4, .tp = 1}},
      {{.num_ranks = 4, .tp = 4}, {.num_ranks = 4, .tp = 1}},
      {{.num_ranks = 8, .tp = 2}, {.num_ranks = 8, .tp = 4}},
      {{.num_ranks = 2, .tp = 2}, {.num_ranks = 2, .tp = 2}}};
  for (auto [source, destination] : pairs) {
    source.name = "vision";
    destination.name = "language";
    const Batch batch = MakeBatch({3, 0, 5, 1, 4, 2, 0, 6});
    EXPECT_THAT(RoundTrip(source, destination, Delivery::kOwners, {batch, batch}), IsOk());
  }
}

class BridgeErrorTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Bridge>> Make(GlobalRank rank, CommunicatorFactory& factory,
                                               Device device) {
    return Bridge::Create({.width = kWidth,
                           .num_forward_slots = 2,
                           .num_backward_slots = 2,
                           .max_forward_rows = 8,
                           .max_backward_rows = 8},
                          source_, destination_, plan_, rank, factory, device, memory_);
  }

  Grid source_ = Grid::Make({.name = "vision", .num_ranks = 2}).value();
  Grid destination_ = Grid::Make({.name = "language", .num_ranks = 1, .rank_offset = 2}).value();
  // Of two samples, each of a lane of its own.
  RowPlan PlanRows(int64_t first, int64_t second) const {
    const std::vector<IndexRange> tokens = {{0, first}, {0, second}};
    return PlanOwners(LastStage(source_), FirstStage(destination_),
                      std::vector<SampleRows>{{first, kSequence, std::span(&tokens[0], 1)},
                                              {second, kSequence, std::span(&tokens[1], 1)}})
        .value();
  }

  RowPlan plan_ = PlanRows(2, 6);
  MemoryLedger memory_;
  Arena workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
};

TEST_F(BridgeErrorTest, RowsThatTheCountsDidNotPromiseNameWhereAndBothNumbers) {
  auto factory = LoopbackFactory(GlobalRank(1), 3);
  auto bridge = Make(GlobalRank(1), *factory, Device{}).value();
  Stream stream(Device{}, workspace_);
  std::vector<float> rows(5 * kWidth);
  EXPECT_THAT(
      bridge->forward().Send(TensorView(std::span<float>(rows), {5, kWidth}), plan_, 3, stream),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "bridge.forward.0, microbatch 3: module vision lane 1 (rank 1) sends "
               "f32[5,3]; the samples of its batch count 6 rows"));
  std::vector<double> wide(6 * kWidth);
  EXPECT_THAT(
      bridge->forward().Send(TensorView(std::span<double>(wide), {6, kWidth}), plan_, 0, stream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected rows of 3 f32")));
}

TEST_F(BridgeErrorTest, MoreRowsThanDeclaredOrSlotsThanMadeAreErrors) {
  auto factory = LoopbackFactory(GlobalRank(2), 3);
  auto bridge = Make(GlobalRank(2), *factory, Device{}).value();
  Stream stream(Device{}, workspace_);
  const RowPlan larger = PlanRows(3, 6);
  EXPECT_THAT(bridge->forward().PostReceive(larger, 4, stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "bridge.forward.0, microbatch 4: module language lane 0 (rank 2) receives 9 "
                       "rows; the declared maximum is 8"));
  auto first = bridge->forward().PostReceive(plan_, 0, stream);
  auto second = bridge->forward().PostReceive(plan_, 1, stream);
  EXPECT_THAT(bridge->forward().PostReceive(plan_, 2, stream),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("2 receives posted")));
}

TEST_F(BridgeErrorTest, CountsThatDifferBetweenTheEndsAreAnErrorOnBoth) {
  const RowPlan other = PlanRows(2, 5);
  EXPECT_THAT(
      RunRanks(3,
               [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                 Rank self;
                 HETERO_ASSIGN_OR_RETURN(
                     auto bridge,
                     Bridge::Create(
                         {.width = kWidth, .max_forward_rows = 8, .max_backward_rows = 8}, source_,
                         destination_, plan_, rank, factory, Device{}, self.memory));
                 if (rank == GlobalRank(2)) {
                   HETERO_ASSIGN_OR_RETURN(auto receive,
                                           bridge->forward().PostReceive(other, 0, self.stream));
                   return receive->Wait(self.stream).status();
                 }
                 std::vector<float> rows(6 * kWidth);
                 const int64_t count = rank == GlobalRank(0) ? 2 : 6;
                 HETERO_ASSIGN_OR_RETURN(
                     auto sent, bridge->forward().Send(
                                    TensorView(std::span<float>(rows), {6, kWidth}).Rows(0, count),
                                    plan_, 0, self.stream));
                 return sent->Wait();
               }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               testing::AllOf(HasSubstr("a send of 18 f32"), HasSubstr("a receive of 15 f32"))));
}

TEST_F(BridgeErrorTest, ShapeOnlyRanksRecordTheirCallsAndCountTheirSlots) {
  const Device shape_only{DeviceKind::kShapeOnly};
  auto factory = LoopbackFactory(GlobalRank(2), 3);
  auto bridge = Make(GlobalRank(2), *factory, shape_only).value();
  EXPECT_EQ(memory_.bytes(MemoryLabel::kBridge), 256 * ((2 * 8 * kWidth * 4 + 255) / 256));
  Stream stream(shape_only, workspace_);
  stream.ledger().RecordCollectives(true);
  auto receive = bridge->forward().PostReceive(plan_, 0, stream).value();
  const TensorView rows = receive->Wait(stream).value();
  auto sent = bridge->backward().Send(rows, Inverse(plan_), 0, stream).value();
  EXPECT_THAT(sent->Wait(), IsOk());
  EXPECT_THAT(stream.ledger().collectives(),
              testing::ElementsAre(CollectiveCall{"bridge.forward.0.receive", "exchange", 0},
                                   CollectiveCall{"bridge.backward.0.send", "exchange", 96}));
}

}  // namespace
}  // namespace hetero
