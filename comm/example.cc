// Rank 0 encodes, ranks 1 and 2 each take half of its rows and agree on a sum.

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/comm.h"
#include "hetero/grid/grid.h"

namespace hetero {
namespace {

absl::Status RunOneRank(const Grid& images, const Grid& language, const RowPlan& plan,
                        GlobalRank rank, CommunicatorFactory& factory) {
  MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(Arena workspace,
                          Arena::Create(Device{}, MemoryLabel::kWorkspace, 1 << 16, memory));
  Stream stream(Device{}, workspace);
  const BridgeOptions options = {.width = 2, .max_forward_rows = 8, .max_backward_rows = 8};
  HETERO_ASSIGN_OR_RETURN(auto bridge, Bridge::Create(options, images, language, plan, rank,
                                                      factory, Device{}, memory));

  if (rank == GlobalRank(0)) {
    std::vector<float> rows = {1, 2, 3, 4, 5, 6, 7, 8};
    const TensorView activation(std::span<float>(rows), {4, 2});
    HETERO_ASSIGN_OR_RETURN(auto sent, bridge->forward().Send(activation, plan, 0, stream));
    return sent->Wait();
  }

  HETERO_ASSIGN_OR_RETURN(auto receive, bridge->forward().PostReceive(plan, 0, stream));
  HETERO_ASSIGN_OR_RETURN(const TensorView rows, receive->Wait(stream));
  float sum = 0;
  for (const float value : rows.values<float>()) sum += value;

  HETERO_ASSIGN_OR_RETURN(auto lanes, factory.Create({"gradient", {GlobalRank(1), GlobalRank(2)}}));
  const TensorView total(std::span<float>(&sum, 1), {1});
  HETERO_RETURN_IF_ERROR(lanes->AllReduce(total, total, ReduceOp::kSum, stream, "sum"));
  return sum == 36 ? absl::OkStatus() : absl::InternalError("rows got lost");
}

TEST(Example, TwoLanguageLanesShareTheRowsOfOneEncoder) {
  const Grid images = Grid::Make({.name = "images", .num_ranks = 1}).value();
  const Grid language = Grid::Make({.name = "language", .num_ranks = 2, .rank_offset = 1}).value();
  // Two samples, of one image row and of three, at their first tokens.
  const std::vector<IndexRange> tokens = {{0, 1}, {0, 3}};
  const std::vector<SampleRows> samples = {{1, 8, std::span(tokens).first(1)},
                                           {3, 8, std::span(tokens).last(1)}};
  const RowPlan plan = PlanOwners(LastStage(images), FirstStage(language), samples).value();
  EXPECT_EQ(RunRanks(3,
                     [&](GlobalRank rank, CommunicatorFactory& factory) {
                       return RunOneRank(images, language, plan, rank, factory);
                     }),
            absl::OkStatus());
}

}  // namespace
}  // namespace hetero
