// Measures an operation on the shape-only device, then runs it in just that much memory.

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/norm/norm.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

// y = RMSNorm(x), with memory from `arena`: the same code for every device.
absl::StatusOr<TensorView> Normalise(ConstTensorView x_TC, ConstTensorView weight_C, Arena& arena,
                                     Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const TensorView y_TC, arena.Allocate(x_TC.dtype(), x_TC.dims()));
  HETERO_ASSIGN_OR_RETURN(const TensorView rstd_T, arena.Allocate(DType::kF32, {x_TC.dim(0)}));
  HETERO_RETURN_IF_ERROR(
      RmsNormForward({.x_TC = x_TC, .weight_C = weight_C, .y_TC = y_TC, .rstd_T = rstd_T}, stream));
  return y_TC;
}

absl::Status MeasureThenRun() {
  Arena shapes = Arena::Counting(MemoryLabel::kActivations);
  Stream dry(Device{DeviceKind::kShapeOnly}, shapes);
  HETERO_ASSIGN_OR_RETURN(const TensorView any_TC, shapes.Allocate(DType::kF32, {2, 4}));
  HETERO_ASSIGN_OR_RETURN(const TensorView any_C, shapes.Allocate(DType::kF32, {4}));
  const int64_t inputs = shapes.used_bytes();
  HETERO_RETURN_IF_ERROR(Normalise(any_TC, any_C, shapes, dry));

  MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(Arena arena, Arena::Create(Device{}, MemoryLabel::kActivations,
                                                     shapes.peak_bytes() - inputs, memory));
  Stream stream(Device{}, arena);
  std::vector<float> x = {3, 3, 3, 3, -2, 2, -2, 2};
  std::vector<float> weight = {1, 1, 1, 5};
  HETERO_ASSIGN_OR_RETURN(const TensorView y_TC,
                          Normalise(TensorView(std::span<float>(x), {2, 4}),
                                    TensorView(std::span<float>(weight), {4}), arena, stream));
  EXPECT_NEAR(y_TC.values<float>()[0], 1, 1e-4);
  EXPECT_NEAR(y_TC.values<float>()[7], 5, 1e-4);
  EXPECT_EQ(dry.ledger().total_flops(), stream.ledger().total_flops());
  return absl::OkStatus();
}

TEST(Example, TheShapeOnlyDevicePredictsMemoryAndWork) {
  EXPECT_EQ(MeasureThenRun(), absl::OkStatus());
}

}  // namespace
}  // namespace hetero
