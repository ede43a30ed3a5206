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
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/axis.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kWidth = 3;
constexpr int64_t kSequence = 24;
const RunRanksOptions kOptions = {.timeout = absl::Seconds(30)};

enum class Delivery { kLeader, kSliced, kOwners, kColocated };

struct Rank {
  MemoryLedger memory;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};
};

// Rows of one microbatch: counts per sample and a position in its sequence for each row.
struct Batch {
  std::vector<int64_t> counts;
  std::vector<int64_t> positions;
};

Batch MakeBatch(std::vector<int64_t> counts) {
  Batch batch = {std::move(counts), {}};
  for (size_t i = 0; i < batch.counts.size(); ++i) {
    for (int64_t j = 0; j < batch.counts[i]; ++j) {
      batch.positions.push_back((static_cast<int64_t>(i) * 5 + j) % kSequence);
    }
  }
  return batch;
}

RowPlan MakePlan(Delivery delivery, const Grid& source, const Grid& destination,
                 const Batch& batch) {
  switch (delivery) {
    case Delivery::kLeader:
      return PlanLeaderFunnel(LastStage(source), FirstStage(destination), batch.counts).value();
    case Delivery::kSliced:
      return PlanSliced(LastStage(source), FirstStage(destination), batch.counts).value();
    case Delivery::kOwners:
      return PlanSequenceOwners(LastStage(source), FirstStage(destination), batch.counts,
                                batch.positions, kSequence)
          .value();
    case Delivery::kColocated:
      return PlanColocated(LastStage(source), FirstStage(destination), batch.counts).value();
  }
  return {};
}

// What rank `rank` of `grid` must hold: tags of the rows of its lane's samples, of the positions it
// owns when `owners`.
std::vector<float> Rows(const Grid& grid, GlobalRank rank, const Batch& batch, int64_t microbatch,
                        float offset, bool owners) {
  const auto samples = static_cast<int64_t>(batch.counts.size());
  const int64_t per_lane = samples / grid.num_lanes();
  const int64_t lane = grid.LaneOf(rank).value();
  const int64_t tp = grid.Size(Axis::kTp);
  std::vector<float> rows;
  size_t row = 0;
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t i = 0; i < batch.counts[static_cast<size_t>(sample)]; ++i, ++row) {
      if (sample / per_lane != lane) continue;
      const int64_t owner = batch.positions[row] / (kSequence / tp);
      if (owners && owner != grid.base().Coord(rank, Axis::kTp)) continue;
      for (int64_t column = 0; column < kWidth; ++column) {
        rows.push_back(offset + static_cast<float>((microbatch * 10000 +
                                                    static_cast<int64_t>(row) * 10 + column)));
      }
    }
  }
  return rows;
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
    plans.push_back(MakePlan(delivery, source, destination, batch));
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
      activations[at] = Rows(source, rank, batches[at], i, 0.0f, false);
      HETERO_ASSIGN_OR_RETURN(
          sent.emplace_back(),
          bridge->forward().Send(view(activations[at]), plans[at], i, self.stream));
    }
    for (int64_t i = 0; receives && i < num_batches; ++i) {
      const auto at = static_cast<size_t>(i);
      HETERO_ASSIGN_OR_RETURN(const TensorView rows, forward[at]->Wait(self.stream));
      HETERO_RETURN_IF_ERROR(
          Expect(rows, Rows(destination, rank, batches[at], i, 0.0f, owners), "forward"));
      gradients[at] = Rows(destination, rank, batches[at], i, 0.5f, owners);
      HETERO_ASSIGN_OR_RETURN(
          sent.emplace_back(),
          bridge->backward().Send(view(gradients[at]), Inverse(plans[at]), i, self.stream));
    }
    for (int64_t i = 0; sends && i < num_batches; ++i) {
      const auto at = static_cast<size_t>(i);
      HETERO_ASSIGN_OR_RETURN(const TensorView rows, backward[at]->Wait(self.stream));
      HETERO_RETURN_IF_ERROR(
          Expect(rows, Rows(source, rank, batches[at], i, 0.5f, false), "backward"));
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
  const Delivery delivery = std::get<1>(info.param);
  return absl::StrCat(std::get<0>(info.param).label, delivery == Delivery::kLeader   ? "_leader"
                                                     : delivery == Delivery::kSliced ? "_sliced"
                                                                                     : "_owners");
}

INSTANTIATE_TEST_SUITE_P(Layouts, BridgeLayoutTest,
                         testing::Combine(testing::ValuesIn(Cases()),
                                          testing::Values(Delivery::kLeader, Delivery::kSliced,
                                                          Delivery::kOwners)),
                         LabelOf);

TEST_P(BridgeLayoutTest, EveryRowArrivesOnceAndItsGradientReturns) {
  const auto& [layout, delivery] = GetParam();
  const int64_t samples = 2 * std::lcm(Grid::Make(layout.source).value().num_lanes(),
                                       Grid::Make(layout.destination).value().num_lanes());
  std::mt19937 random(11);
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
  for (const Delivery delivery : {Delivery::kLeader, Delivery::kSliced, Delivery::kOwners}) {
    EXPECT_THAT(RoundTrip(source, destination, delivery,
                          {MakeBatch({256, 64}), MakeBatch({0, 64}), MakeBatch({64, 256})}),
                IsOk());
  }
}

TEST(BridgeTest, ColocatedModulesGatherOrSliceInPlace) {
  const std::vector<std::pair<GridSpec, GridSpec>> pairs = {
      {{.num_ranks = 4, .tp = 1}, {.num_ranks = 4, .tp = 2}},
      {{.num_ranks = 4, .tp = 2}, {.num_ranks = 4, .tp = 1}},
      {{.num_ranks = 8, .tp = 2}, {.num_ranks = 8, .tp = 4}},
      {{.num_ranks = 2, .tp = 2}, {.num_ranks = 2, .tp = 2}}};
  for (auto [source, destination] : pairs) {
    source.name = "vision";
    destination.name = "language";
    const Batch batch = MakeBatch({3, 0, 5, 1, 4, 2, 0, 6});
    EXPECT_THAT(RoundTrip(source, destination, Delivery::kColocated, {batch, batch}), IsOk());
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
  RowPlan plan_ =
      PlanSliced(LastStage(source_), FirstStage(destination_), std::vector<int64_t>{2, 6}).value();
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
  const RowPlan larger =
      PlanSliced(LastStage(source_), FirstStage(destination_), std::vector<int64_t>{3, 6}).value();
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
  const RowPlan other =
      PlanSliced(LastStage(source_), FirstStage(destination_), std::vector<int64_t>{2, 5}).value();
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
