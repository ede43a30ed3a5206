// Two data-parallel ranks fit y = w x, each on its own sample.

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/optim/optim.h"
#include "hetero/tensor/side_stream.h"

namespace hetero {
namespace {

absl::Status RunOneRank(GlobalRank rank, CommunicatorFactory& factory) {
  MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(Arena workspace,
                          Arena::Create(Device{}, MemoryLabel::kWorkspace, 1 << 16, memory));
  Stream stream(Device{}, workspace);
  HETERO_ASSIGN_OR_RETURN(const Grid grid, Grid::Make({.name = "line", .num_ranks = 2}));
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make({{.name = "w", .shape = {1, 1}}}));
  HETERO_ASSIGN_OR_RETURN(
      auto store, ParameterStore::Create(table, {}, Device{}, memory, SharingOf(grid, rank)));
  HETERO_ASSIGN_OR_RETURN(Parameter * w, store->Find("w"));

  const Group world = {GlobalRank(0), GlobalRank(1)};
  HETERO_ASSIGN_OR_RETURN(auto data_parallel, factory.Create({"gradient", world}));
  HETERO_ASSIGN_OR_RETURN(auto control, factory.Create({"control", world}));
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  HETERO_ASSIGN_OR_RETURN(
      auto traffic, BucketTraffic::Create("line", *store, {.dense = data_parallel.get()}, {}, *side,
                                          Device{}, memory));
  HETERO_ASSIGN_OR_RETURN(
      auto module,
      ModuleOptimizer::Create({.adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8}}, *store,
                              grid, rank, Device{}, memory));
  HETERO_ASSIGN_OR_RETURN(
      const LearningRateSchedule schedule,
      LearningRateSchedule::Make(
          {.style = LearningRateStyle::kCosine, .peak = 0.1, .decay_samples = 400}));
  HETERO_ASSIGN_OR_RETURN(auto optimizer,
                          Optimizer::Create({.learning_rate = schedule,
                                             .clip_gradient_norm = 1.0,
                                             .modules = {{"line", {"w"}}},
                                             .num_addends = 1},
                                            {module.get()}, control.get(), stream, memory));

  const float x = rank == GlobalRank(0) ? 1 : 2;
  double loss = 0;
  for (int step = 0; step < 200; ++step) {
    const float error = w->value.values<float>()[0] * x - 3 * x;
    w->gradient.values<float>()[0] = error * x;
    w->gradient_written = true;
    HETERO_RETURN_IF_ERROR(traffic->Reduce());
    const double own_tokens = 1, own_loss = 0.5 * error * error;
    HETERO_ASSIGN_OR_RETURN(
        const StepReport report,
        optimizer->Step({.samples = 2,
                         .tokens = ConstTensorView(&own_tokens, DType::kF64, {1}),
                         .addends = ConstTensorView(&own_loss, DType::kF64, {1})}));
    HETERO_RETURN_IF_ERROR(traffic->Gather());
    HETERO_RETURN_IF_ERROR(traffic->AllNeeded());
    loss = report.sums[0] / report.tokens;
  }
  return loss < 1e-4 ? absl::OkStatus() : absl::InternalError("the line was not found");
}

TEST(Example, TwoRanksFitALine) { EXPECT_EQ(RunRanks(2, RunOneRank), absl::OkStatus()); }

}  // namespace
}  // namespace hetero
