#include "hetero/trainer/step/parameter_norm.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <string>

#include "absl/log/check.h"
#include "hetero/base/status.h"
#include "hetero/params/shard.h"
#include "hetero/params/sharing.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

constexpr int64_t kNumTotals = 2;  // of GradientStatistics

template <typename T>
double SquaresOf(std::span<const T> values) {
  double sum = 0;
  for (const T value : values) {
    const auto wide = static_cast<double>(static_cast<float>(value));
    sum += wide * wide;
  }
  return sum;
}

template <>
double SquaresOf(std::span<const double> values) {
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

double SquaresOf(const ConstTensorView& host, int64_t begin, int64_t count) {
  switch (host.dtype()) {
    case DType::kF64:
      return SquaresOf(host.values<double>().subspan(begin, count));
    case DType::kBF16:
      return SquaresOf(host.values<BFloat16>().subspan(begin, count));
    default:
      return SquaresOf(host.values<float>().subspan(begin, count));
  }
}

// Of what this rank has of `parameter`, elements that are others' left out.
absl::StatusOr<double> OwnSquares(const Parameter& parameter, const ShardSpec& spec,
                                  Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const Shard shard, ShardOf(*parameter.spec, spec));
  const TensorView& value = parameter.value;
  std::vector<std::byte> bytes(value.num_elements() * SizeOf(value.dtype()));
  const TensorView host(bytes.data(), value.dtype(), value.dims());
  HETERO_RETURN_IF_ERROR(CopyToHost(value, host, stream));
  HETERO_RETURN_IF_ERROR(stream.Synchronize());
  double squares = 0;
  for (const SharedRun& run : SharedRuns(*parameter.spec, shard)) {
    if (run.owned()) squares += SquaresOf(host, run.begin, run.count);
  }
  return squares;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterNorm>> ParameterNorm::Create(
    std::span<const std::unique_ptr<ModuleOptimizer>> local, Communicator* control,
    int64_t most_parameters, Stream& stream, MemoryLedger& ledger) {
  std::unique_ptr<ParameterNorm> norm(new ParameterNorm(local, control, stream));
  const int64_t count = kNumTotals + most_parameters;
  const int64_t num_bytes = count * SizeOf(DType::kF64);
  const Device device = stream.device();
  HETERO_ASSIGN_OR_RETURN(norm->buffer_,
                          Buffer::Allocate(device, MemoryLabel::kOptimizer, num_bytes, ledger));
  norm->sums_ = norm->buffer_.View(DType::kF64, {count});
  for (Flight& flight : norm->flights_) {
    HETERO_ASSIGN_OR_RETURN(flight.staging, PinnedBuffer::Allocate(device, num_bytes, ledger));
    HETERO_ASSIGN_OR_RETURN(flight.arrived, Event::Create(device));
  }
  return norm;
}

absl::Status ParameterNorm::CountConstants(std::span<const Holding> holdings) {
  constant_squares_ = 0;
  for (size_t i = 0; i < local_.size(); ++i) {
    const Holding& holding = holdings[i];
    for (const std::unique_ptr<Parameter>& parameter : local_[i]->store().parameters()) {
      const ParameterSpec& spec = *parameter->spec;
      const bool of_experts = spec.gradient_group == GradientGroup::kExpert;
      const bool first = of_experts ? holding.experts_are_first : holding.dense_is_first;
      if (!first || spec.is_buffer || !parameter->gradient.is_null()) continue;
      HETERO_ASSIGN_OR_RETURN(const double squares, OwnSquares(*parameter, holding.shard, stream_));
      constant_squares_ += squares;
    }
  }
  return absl::OkStatus();
}

absl::Status ParameterNorm::Queue() {
  CHECK_LT(queued_ - read_, kNumFlights);
  HETERO_RETURN_IF_ERROR(Fill(0, sums_, stream_));
  HETERO_RETURN_IF_ERROR(Fill(constant_squares_, sums_.Rows(0, 1), stream_));
  const TensorView totals = sums_.Rows(0, kNumTotals);
  const TensorView non_finite = sums_.Rows(kNumTotals, sums_.dim(0) - kNumTotals);
  for (const std::unique_ptr<ModuleOptimizer>& module : local_) {
    HETERO_RETURN_IF_ERROR(module->AddParameterStatistics(totals, non_finite, stream_));
  }
  if (control_ != nullptr) {
    HETERO_RETURN_IF_ERROR(
        control_->AllReduce(sums_, sums_, ReduceOp::kSum, stream_, "parameters.norm"));
  }
  Flight& flight = flights_[queued_ % kNumFlights];
  HETERO_RETURN_IF_ERROR(
      CopyToHost(sums_, flight.staging.View(DType::kF64, sums_.dims()), stream_));
  ++queued_;
  return stream_.shape_only() ? absl::OkStatus() : flight.arrived.Record(stream_);
}

absl::StatusOr<double> ParameterNorm::Read() {
  CHECK_LT(read_, queued_);
  Flight& flight = flights_[read_++ % kNumFlights];
  if (stream_.shape_only()) return 0;
  HETERO_RETURN_IF_ERROR(flight.arrived.Synchronize());
  const std::span<const double> sums =
      flight.staging.View(DType::kF64, sums_.dims()).values<double>();
  const double non_finite = std::accumulate(sums.begin() + kNumTotals, sums.end(), 0.0);
  return non_finite > 0 ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(sums[0]);
}

}  // namespace hetero
