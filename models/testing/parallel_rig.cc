#include "hetero/models/testing/parallel_rig.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/cuda_testing.h"

namespace hetero {
namespace {

using Kept = ParallelRig::Kept;

constexpr int64_t kArenaBytes = int64_t{16} << 20;

// Precondition: nothing is allocated from the arena.
void Poison(Arena& arena) {
  const ArenaScope scope(arena);
  auto* const first = static_cast<double*>(arena.Allocate(DType::kF64, {1}).value().address());
  std::fill_n(first, arena.capacity_bytes() / SizeOf(DType::kF64),
              std::numeric_limits<double>::quiet_NaN());
}

Arena MakeArena(Device device, MemoryLabel label, MemoryLedger& ledger) {
  if (device.kind == DeviceKind::kShapeOnly) {
    Arena counting = Arena::Counting(label);
    // The peak of an arena that was poisoned.
    CHECK_OK(counting.Allocate(DType::kF64, {1}));
    counting.Release(0);
    return counting;
  }
  Arena arena = Arena::Create(device, label, kArenaBytes, ledger).value();
  Poison(arena);
  return arena;
}

// Ones and zeros hide errors.
Init Randomized(const ParameterSpec& spec) {
  switch (spec.init.kind) {
    case Init::Kind::kConstant:
      return Init::Uniform(spec.init.a - 0.5, spec.init.a + 0.5);
    case Init::Kind::kNormal:
      return Init::Normal(0.5 / std::sqrt(static_cast<double>(spec.shape.back())));
    default:
      return spec.init;
  }
}

}  // namespace

ParallelRig::ParallelRig(Place place, Device device, uint64_t seed, bool weight_gradients_later)
    : place_(std::move(place)),
      seed_(seed),
      activations_(MakeArena(device, MemoryLabel::kActivations, memory_)),
      workspace_(MakeArena(device, MemoryLabel::kWorkspace, memory_)),
      stream_(device, workspace_),
      context_{.stream = stream_, .activations = activations_} {
  if (weight_gradients_later) context_.weight_gradients = &weight_gradients_;
}

ParameterStore& ParallelRig::MakeParameters(const ParameterTable& table) {
  std::vector<ParameterSpec> specs(table.specs().begin(), table.specs().end());
  for (ParameterSpec& spec : specs) spec.init = Randomized(spec);
  stores_.push_back(ParameterStore::Create(ParameterTable::Make(std::move(specs)).value(),
                                           place_.shard, stream_.device(), memory_)
                        .value());
  CHECK_OK(stores_.back()->Initialize(seed_, stream_));
  return *stores_.back();
}

StageResources ParallelRig::Resources(ParameterStore& parameters, int num_slots) {
  return {.parameters = parameters,
          .communicators = place_.communicators,
          .device = stream_.device(),
          .ledger = memory_,
          .num_slots = num_slots};
}

std::mt19937_64 ParallelRig::Generator(std::string_view name, int64_t lane) const {
  return std::mt19937_64(StreamKey(seed_, absl::StrCat(name, " of lane ", lane)));
}

TensorView ParallelRig::Normal(std::string_view name, int64_t lane, int64_t rows, int64_t columns) {
  std::mt19937_64 generator = Generator(name, lane);
  std::normal_distribution<double> normal;
  std::vector<double>& values = doubles_.emplace_back(rows * columns);
  values.reserve(1);  // no rows are not a null view
  for (double& value : values) value = normal(generator);
  return TensorView(std::span(values), {rows, columns});
}

TensorView ParallelRig::OwnRows(const ConstTensorView& all_TC) {
  const TokenShard shard = Shard(all_TC.dim(0));
  const int64_t columns = all_TC.dim(1);
  std::vector<double>& own = doubles_.emplace_back(shard.rows() * columns);
  own.reserve(1);
  std::copy_n(all_TC.data<double>() + shard.begin() * columns, shard.num_owned() * columns,
              own.begin());
  return TensorView(std::span(own), {shard.rows(), columns});
}

ConstTensorView ParallelRig::Int32s(std::vector<int32_t> values) {
  const std::vector<int32_t>& kept = int32s_.emplace_back(std::move(values));
  return ConstTensorView(std::span(kept), {std::ssize(kept)});
}

TensorView ParallelRig::Zeros(DType dtype, int64_t elements) {
  buffers_.push_back(
      Buffer::Allocate(stream_.device(), MemoryLabel::kData, elements * SizeOf(dtype), memory_)
          .value());
  return buffers_.back().View(dtype, {elements});
}

SequenceBatch ParallelRig::Sequences(int64_t num_rows, int64_t row_length) {
  std::vector<int32_t> borders, index;
  for (int64_t row = 0; row <= num_rows; ++row) {
    borders.push_back(static_cast<int32_t>(row * row_length));
  }
  for (int64_t t = 0; t < num_rows * row_length; ++t) {
    index.push_back(static_cast<int32_t>(t / row_length));
  }
  return {.num_rows = num_rows,
          .row_length = row_length,
          .cu_seqlens = Int32s(std::move(borders)).values<int32_t>(),
          .sequence_index = Int32s(std::move(index))};
}

void ParallelRig::Keep(Kept kept, const ConstTensorView& view) {
  if (shape_only()) return;
  // Not an operation of the module.
  Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream({}, no_workspace);
  kept.values = ElementsOf(view, stream);
  kept_.push_back(std::move(kept));
}

void ParallelRig::KeepRows(std::string_view name, int64_t lane, const ConstTensorView& own_RC,
                           int64_t num_tokens) {
  CHECK_EQ(own_RC.dim(0), Shard(num_tokens).rows()) << name;
  Keep({.kind = Kept::Kind::kRows,
        .name = std::string(name),
        .lane = lane,
        .shard = Shard(num_tokens)},
       own_RC);
}

void ParallelRig::KeepGradientRows(std::string_view name, int64_t lane,
                                   const ConstTensorView& own_RC, int64_t num_tokens) {
  CHECK_EQ(own_RC.dim(0), Shard(num_tokens).rows()) << name;
  Keep({.kind = Kept::Kind::kGradientRows,
        .name = std::string(name),
        .lane = lane,
        .shard = Shard(num_tokens)},
       own_RC);
}

void ParallelRig::KeepSame(std::string_view name, int64_t lane, const ConstTensorView& view) {
  Keep({.kind = Kept::Kind::kSame, .name = std::string(name), .lane = lane}, view);
}

void ParallelRig::KeepPart(std::string_view name, const ConstTensorView& view) {
  Keep({.kind = Kept::Kind::kPart, .name = std::string(name)}, view);
}

absl::Status ParallelRig::KeepGradients(ParameterStore& parameters) {
  if (!shape_only()) Poison(workspace_);
  HETERO_RETURN_IF_ERROR(weight_gradients_.Run(stream_));
  HETERO_RETURN_IF_ERROR(parameters.FinishGradients(stream_));
  for (const auto& parameter : parameters.parameters()) {
    if (parameter->gradient.is_null()) continue;
    Keep({.kind = Kept::Kind::kParameter,
          .name = absl::StrCat("the gradient of ", parameter->spec->name),
          .lane = place_.lanes.front(),
          .spec = *parameter->spec},
         parameter->gradient);
  }
  return absl::OkStatus();
}

ParallelRig::Cost ParallelRig::cost() {
  Cost cost = {.activation_bytes = activations_.peak_bytes(),
               .workspace_bytes = workspace_.peak_bytes(),
               .parameter_bytes = memory_.bytes(MemoryLabel::kWeights) +
                                  memory_.bytes(MemoryLabel::kMainGradients)};
  for (const auto& [name, totals] : stream_.ledger().operations()) {
    // What sums are made of on this backend.
    if (name != "rank_reduce") cost.flops[std::string(name)] = totals.flops;
  }
  return cost;
}

}  // namespace hetero
