#include "hetero/tools/bench/measure.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/persistent_grid.h"
#include "hetero/tensor/stream.h"

namespace hetero::bench {
namespace {

// What the operands of a case hold together at least: several times the largest cache of a GPU.
constexpr double kRotationBytes = 256e6;
constexpr int64_t kMaxSets = 32;

// A stream with its memory.
class Rig {
 public:
  static absl::StatusOr<std::unique_ptr<Rig>> Create(Device device, int64_t activation_bytes,
                                                     int64_t workspace_bytes) {
    auto rig = std::unique_ptr<Rig>(new Rig);
    if (device.kind != DeviceKind::kShapeOnly) {
      HETERO_ASSIGN_OR_RETURN(rig->activations_, Arena::Create(device, MemoryLabel::kActivations,
                                                               activation_bytes, rig->memory_));
      HETERO_ASSIGN_OR_RETURN(rig->workspace_, Arena::Create(device, MemoryLabel::kWorkspace,
                                                             workspace_bytes, rig->memory_));
    }
    HETERO_ASSIGN_OR_RETURN(rig->stream_, Stream::Create(device, rig->workspace_));
    return rig;
  }

  absl::Status Run(const Call& call) {
    activations_.Release(0);
    ModuleContext context = {.stream = *stream_, .activations = activations_};
    return call(context);
  }

  Stream& stream() { return *stream_; }
  const Arena& activations() const { return activations_; }
  const Arena& workspace() const { return workspace_; }

 private:
  Rig() = default;

  MemoryLedger memory_;
  Arena activations_ = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  std::unique_ptr<Stream> stream_;
};

// Operands and the work on them, which dies first.
struct Instance {
  Operands operands;
  Work work;

  static absl::StatusOr<std::unique_ptr<Instance>> Make(const Case& one, uint64_t seed,
                                                        Stream& stream) {
    auto instance = std::unique_ptr<Instance>(new Instance{.operands = Operands(stream, seed)});
    HETERO_ASSIGN_OR_RETURN(instance->work, one.make(instance->operands));
    HETERO_RETURN_IF_ERROR(instance->operands.status());
    return instance;
  }
};

Pass CostOf(const CallLedger& ledger, const Ceilings& ceilings) {
  Pass pass;
  for (const auto& [name, totals] : ledger.operations()) {
    pass.flops += totals.flops;
    pass.bytes += totals.bytes;
    pass.floor_us +=
        1e6 * std::max(totals.flops / ceilings.gemm_flops, totals.bytes / ceilings.copy_bytes);
  }
  return pass;
}

// What the shape-only device says about a case.
struct Prediction {
  int64_t activation_bytes = 0;
  int64_t workspace_bytes = 0;
};

absl::StatusOr<Prediction> Predict(const Case& one, DeviceKind kind, const Ceilings& ceilings,
                                   Row& row) {
  HETERO_ASSIGN_OR_RETURN(const auto rig,
                          Rig::Create({.kind = DeviceKind::kShapeOnly, .predicts = kind}, 0, 0));
  HETERO_ASSIGN_OR_RETURN(const auto instance, Instance::Make(one, 1, rig->stream()));
  const auto cost = [&](const Call& call) -> absl::StatusOr<Pass> {
    rig->stream().ledger().Reset();
    HETERO_RETURN_IF_ERROR(rig->Run(call));
    return CostOf(rig->stream().ledger(), ceilings);
  };
  HETERO_ASSIGN_OR_RETURN(row.forward, cost(instance->work.forward));
  if (instance->work.forward_backward != nullptr) {
    HETERO_ASSIGN_OR_RETURN(row.forward_backward, cost(instance->work.forward_backward));
  }
  return Prediction{.activation_bytes = rig->activations().peak_bytes(),
                    .workspace_bytes = rig->workspace().peak_bytes()};
}

absl::Status FillRow(const Case& one, Device device, const Ceilings& ceilings,
                     const SamplerOptions& options, Row& row) {
  HETERO_ASSIGN_OR_RETURN(const Prediction prediction, Predict(one, device.kind, ceilings, row));
  row.peak_bytes = prediction.activation_bytes + prediction.workspace_bytes;
  HETERO_ASSIGN_OR_RETURN(
      const auto rig, Rig::Create(device, prediction.activation_bytes, prediction.workspace_bytes));
  const auto sets = static_cast<size_t>(
      std::clamp<double>(std::ceil(kRotationBytes / row.forward.bytes), 1, kMaxSets));
  std::vector<std::unique_ptr<Instance>> instances;
  while (instances.size() < sets) {
    HETERO_ASSIGN_OR_RETURN(auto instance,
                            Instance::Make(one, instances.size() + 1, rig->stream()));
    instances.push_back(std::move(instance));
  }
  HETERO_RETURN_IF_ERROR(LeaveMultiprocessors(options.multiprocessors_left, rig->stream()));
  HETERO_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(rig->stream(), options));
  const auto measure = [&](Call Work::*call) {
    return sampler.Measure(
        [&](int64_t i) { return rig->Run(instances[i % instances.size()]->work.*call); });
  };
  HETERO_ASSIGN_OR_RETURN(row.forward.timing, measure(&Work::forward));
  if (!row.forward_backward.has_value()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(row.forward_backward->timing, measure(&Work::forward_backward));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Ceilings> MeasureCeilings(const Sizes& sizes, Device device,
                                         const SamplerOptions& options) {
  // Shares are of no interest here.
  constexpr Ceilings kNone = {.copy_bytes = 1, .gemm_flops = 1};
  const Case copy = {
      "copy", [&](Operands& operands) -> Work {
        const TensorView from = operands.Normal(DType::kF32, {sizes.copy_elements});
        const TensorView to = operands.Empty(DType::kF32, {sizes.copy_elements});
        return {.forward = [=](ModuleContext& context) { return Copy(from, to, context.stream); }};
      }};
  const Case gemm = {"gemm", [&](Operands& operands) -> Work {
                       const int64_t n = sizes.gemm_side;
                       const TensorView a = operands.Normal({n, n});
                       const TensorView b = operands.Normal({n, n});
                       const TensorView c = operands.Empty(operands.storage(), {n, n});
                       return {.forward = [=](ModuleContext& context) {
                         return LinearForward(a, b, {}, c, context.stream);
                       }};
                     }};
  const Row copied = Measure(copy, device, kNone, options);
  HETERO_RETURN_IF_ERROR(copied.status).With("copy ceiling");
  const Row multiplied = Measure(gemm, device, kNone, options);
  HETERO_RETURN_IF_ERROR(multiplied.status).With("product ceiling");
  return Ceilings{
      .copy_bytes = 1e6 * copied.forward.bytes / copied.forward.timing.median_us,
      .gemm_flops = 1e6 * multiplied.forward.flops / multiplied.forward.timing.median_us};
}

Row Measure(const Case& one, Device device, const Ceilings& ceilings,
            const SamplerOptions& options) {
  Row row = {.name = one.name};
  row.status = FillRow(one, device, ceilings, options, row);
  return row;
}

}  // namespace hetero::bench
