#include "hetero/models/testing/module_rig.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

// Libraries of GPUs want large workspaces.
int64_t ArenaBytes(Device device) { return int64_t{device.IsCuda() ? 256 : 16} << 20; }

// Precondition: nothing is allocated from the arena, of ArenaBytes.
absl::Status Poison(Arena& arena, Stream& stream) {
  const ArenaScope scope(arena);
  HETERO_ASSIGN_OR_RETURN(
      const TensorView all,
      arena.Allocate(DType::kF32, {ArenaBytes(stream.device()) / SizeOf(DType::kF32)}));
  return Fill(std::numeric_limits<double>::quiet_NaN(), all, stream);
}

Arena PoisonedArena(Device device, MemoryLabel label, MemoryLedger& ledger) {
  Arena arena = Arena::Create(device, label, ArenaBytes(device), ledger).value();
  Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
  const std::unique_ptr<Stream> stream = Stream::Create(device, no_workspace).value();
  CHECK_OK(Poison(arena, *stream));
  CHECK_OK(stream->Synchronize());
  return arena;
}

double NormOf(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

// Precondition: as many of both.
double DistanceOf(std::vector<double> a, std::span<const double> b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return NormOf(a);
}

}  // namespace

ModuleRig::ModuleRig(Device device, DType storage, DType values)
    : storage_(storage),
      values_(values),
      activations_(PoisonedArena(device, MemoryLabel::kActivations, memory_)),
      workspace_(PoisonedArena(device, MemoryLabel::kWorkspace, memory_)),
      stream_(Stream::Create(device, workspace_).value()),
      context_(new ModuleContext{.stream = *stream_, .activations = activations_}) {}

std::vector<double> ModuleRig::Draw(int64_t count, double mean, double stddev) {
  std::normal_distribution<double> distribution(mean, stddev);
  std::vector<double> numbers(count);
  for (double& number : numbers) number = distribution(generator_);
  return numbers;
}

std::vector<double> ModuleRig::Placed(std::vector<double> numbers) {
  numbers = RoundedTo(values_, std::move(numbers));
  if (nudge_ == 0) return numbers;
  std::uniform_real_distribution<double> share(-nudge_, nudge_);
  for (double& number : numbers) number *= 1 + share(nudges_);
  return numbers;
}

TensorView ModuleRig::Place(DType dtype, std::span<const int64_t> dims,
                            std::span<const double> numbers) {
  const int64_t count = std::ssize(numbers);
  buffers_.push_back(
      Buffer::Allocate(device(), MemoryLabel::kData, count * SizeOf(dtype), memory_).value());
  const TensorView view(buffers_.back().address(), dtype, dims);
  SetElements(view, numbers, *stream_);
  return view;
}

ParameterStore& ModuleRig::MakeParameters(const ParameterTable& table, const ShardSpec& shard) {
  stores_.push_back(ParameterStore::Create(table, shard, device(), memory_).value());
  for (const auto& parameter : stores_.back()->parameters()) {
    const Init& init = parameter->spec->init;
    const TensorView& value = parameter->value;
    const double mean = init.kind == Init::Kind::kConstant ? init.a : 0;
    const double stddev =
        value.rank() > 1 ? 0.5 / std::sqrt(static_cast<double>(value.dims().back())) : 0.25;
    const std::vector<double> numbers = Placed(Draw(value.num_elements(), mean, stddev));
    SetElements(value, numbers, *stream_);
  }
  return *stores_.back();
}

TensorView ModuleRig::Normal(int64_t rows, int64_t columns) {
  return Matrix(rows, columns, Draw(rows * columns, 0, 1));
}

TensorView ModuleRig::Matrix(int64_t rows, int64_t columns, std::vector<double> numbers) {
  const int64_t dims[] = {rows, columns};
  return Place(storage_, dims, Placed(std::move(numbers)));
}

TensorView ModuleRig::Zeros(DType dtype, int64_t elements) {
  return Place(dtype, {&elements, 1}, std::vector<double>(elements));
}

TensorView ModuleRig::Upload(const ConstTensorView& host) {
  buffers_.push_back(
      Buffer::Allocate(device(), MemoryLabel::kData, host.num_bytes(), memory_).value());
  const TensorView view(buffers_.back().address(), host.dtype(), host.dims());
  CHECK_OK(CopyToDevice(host, view, *stream_));
  CHECK_OK(stream_->Synchronize());
  return view;
}

std::vector<double> ModuleRig::Download(const ConstTensorView& view) {
  return ElementsOf(view, *stream_);
}

void ModuleRig::Keep(std::string name, const ConstTensorView& view) {
  const bool added =
      kept_.emplace(std::move(name), Kept{!IsFloating(view.dtype()), Download(view)}).second;
  CHECK(added);
}

absl::Status ModuleRig::KeepGradients(ParameterStore& parameters, std::string_view prefix) {
  if (context_->weight_gradients != nullptr) {
    HETERO_RETURN_IF_ERROR(Poison(workspace_, *stream_));
    HETERO_RETURN_IF_ERROR(weight_gradients_.Run(*stream_));
  }
  HETERO_RETURN_IF_ERROR(parameters.FinishGradients(*stream_));
  for (const auto& parameter : parameters.parameters()) {
    if (parameter->gradient.is_null()) continue;
    Keep(absl::StrCat("d ", prefix, parameter->spec->name), parameter->gradient);
  }
  return absl::OkStatus();
}

namespace {

void ExpectSame(const ModuleCase& module, const ModuleRig& actual, const ModuleRig& expected) {
  ASSERT_EQ(actual.kept().size(), expected.kept().size());
  for (const auto& [name, kept] : actual.kept()) {
    EXPECT_EQ(kept.values, expected.kept().at(name).values) << module.name << ": " << name;
  }
}

}  // namespace

void ExpectSameInHalves(const ModuleCase& module, Device device, DType storage) {
  ModuleRig expected(device, storage, storage);
  ASSERT_THAT(module.run(expected), ::absl_testing::IsOk());
  ModuleRig actual(device, storage, storage);
  actual.LeaveWeightGradients();
  ASSERT_THAT(module.run(actual), ::absl_testing::IsOk());
  ExpectSame(module, actual, expected);
}

void ExpectSameRecomputed(const ModuleCase& module, Device device, DType storage) {
  ModuleRig expected(device, storage, storage);
  ASSERT_THAT(module.run(expected), ::absl_testing::IsOk());
  for (const bool in_halves : {false, true}) {
    ModuleRig actual(device, storage, storage);
    actual.RecomputeSelectively();
    if (in_halves) actual.LeaveWeightGradients();
    ASSERT_THAT(module.run(actual), ::absl_testing::IsOk());
    ExpectSame(module, actual, expected);
    if (in_halves || !module.recomputes) continue;
    EXPECT_LT(actual.activation_bytes(), expected.activation_bytes()) << module.name;
  }
}

void ExpectReference(const ModuleCase& module, Device device, DType storage, DType values) {
  ModuleRig expected({}, DType::kF64, values);
  ASSERT_THAT(module.run(expected), ::absl_testing::IsOk()) << "on the CPU in f64";
  ModuleRig actual(device, storage, values);
  ASSERT_THAT(module.run(actual), ::absl_testing::IsOk());
  // What a number comes to by terms that nearly cancel moves far when they move a little, whoever
  // computes it: small enough that no expert is chosen differently, large enough for f64.
  constexpr double kNudge = 0x1p-32;
  ModuleRig nudged({}, DType::kF64, values);
  nudged.Nudge(kNudge);
  ASSERT_THAT(module.run(nudged), ::absl_testing::IsOk()) << "on the CPU in f64, nudged";
  const double unit = Epsilon(storage) / 2;
  const double bound = 4 * std::sqrt(static_cast<double>(module.roundings)) * unit +
                       std::sqrt(static_cast<double>(module.longest_sum)) * 0x1p-24;
  ASSERT_EQ(actual.kept().size(), expected.kept().size());
  for (const auto& [name, kept] : actual.kept()) {
    ASSERT_TRUE(expected.kept().contains(name)) << name;
    const ModuleRig::Kept& reference = expected.kept().at(name);
    if (kept.exact) {
      EXPECT_EQ(kept.values, reference.values) << name;
      continue;
    }
    ASSERT_EQ(kept.values.size(), reference.values.size()) << name;
    const double distance = DistanceOf(kept.values, reference.values);
    const double norm = NormOf(reference.values);
    const double moved = DistanceOf(nudged.kept().at(name).values, reference.values) / kNudge;
    const double allowed = bound * std::max(norm, moved);
    // Written so that NaN fails.
    if (!(distance <= allowed)) {
      ADD_FAILURE() << module.name << ": " << name << " is off by " << distance / norm / unit
                    << " u of its norm " << norm << ", allowed " << allowed / norm / unit;
    }
    if (norm == 0) continue;
    ::testing::Test::RecordProperty(absl::StrCat(module.name, ".", name),
                                    absl::StrCat(distance / norm / unit));
  }
}

}  // namespace hetero
