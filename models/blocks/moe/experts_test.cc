#include "hetero/models/blocks/moe/experts.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// What ranks send each other is not known when memory is sized: it is as if all rows had come.
TEST(ExpertsTest, MemoryOfBackwardIsThatOfAllRowsWhateverCame) {
  constexpr int64_t kExperts = 4, kHidden = 256, kWidth = 512, kRows = 300;
  constexpr DType kStorage = DType::kBF16;
  const Device device = {.kind = DeviceKind::kShapeOnly, .predicts = DeviceKind::kCuda};
  MemoryLedger memory;
  const ParameterTable table =
      ParameterTable::Make(
          {{.name = "fc1", .shape = {kExperts, kWidth, kHidden}, .storage = kStorage},
           {.name = "fc2", .shape = {kExperts, kHidden, kWidth}, .storage = kStorage}})
          .value();
  const auto parameters = ParameterStore::Create(table, {}, device, memory).value();
  const Experts experts(parameters->Find("fc1").value(), parameters->Find("fc2").value());
  std::vector<int64_t> peaks;
  for (const int64_t came : {int64_t{1}, int64_t{100}, kRows}) {
    Arena activations = Arena::Counting(MemoryLabel::kActivations);
    Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
    Stream stream(device, workspace);
    ModuleContext context = {.stream = stream, .activations = activations};
    const ExpertRows rows = experts.Allocate(context, activations, kRows).value();
    const TensorView d_rows = activations.Allocate(kStorage, {kRows, kHidden}).value();
    const TensorView d_inner = activations.Allocate(kStorage, {kRows, kWidth}).value();
    const TensorView d_probs = activations.Allocate(DType::kF32, {kRows}).value();
    ASSERT_THAT(
        experts.Backward(context, rows.First(came), experts.GradientsOf(context), kRows,
                         d_rows.Rows(0, came), d_inner.Rows(0, came), d_probs.Rows(0, came)),
        IsOk());
    peaks.push_back(workspace.peak_bytes());
  }
  EXPECT_GT(peaks.back(), 0);
  EXPECT_THAT(peaks, ::testing::Each(peaks.back()));
}

}  // namespace
}  // namespace hetero
