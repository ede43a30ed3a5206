#include "hetero/models/testing/parallel_rig.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
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

double NormOf(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

void ExpectClose(const std::string& what, std::span<const double> actual,
                 std::span<const double> expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  std::vector<double> difference(actual.begin(), actual.end());
  for (size_t i = 0; i < difference.size(); ++i) difference[i] -= expected[i];
  const double distance = NormOf(difference), norm = NormOf(expected);
  // Written so that NaN fails.
  if (!(distance <= tolerance * norm)) {
    ADD_FAILURE() << what << " is off by " << distance << " of its norm " << norm << ", allowed "
                  << tolerance << " of it";
  }
}

bool IsDividedOver(const ParameterSpec& spec, ShardAxis axis) {
  return std::ranges::any_of(spec.dims, [&](const DimSharding& dim) { return dim.axis == axis; });
}

// Whether ranks that hold the same elements have parts of their gradient. Else all of a lane have
// the same one.
bool HasParts(const ParameterSpec& spec) {
  return spec.gradient_group == GradientGroup::kExpert || spec.partial_over_tp ||
         IsDividedOver(spec, ShardAxis::kTp);
}

// Calls `visit(logical index, local index)` for every element of a box.
template <typename Visit>
void VisitBox(const ShardBox& box, std::span<const int64_t> logical_shape,
              std::span<const int64_t> local_shape, Visit visit) {
  const size_t rank = logical_shape.size();
  const int64_t count =
      std::accumulate(box.extent.begin(), box.extent.end(), int64_t{1}, std::multiplies<>());
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, logical = 0, local = 0, logical_stride = 1, local_stride = 1;
    for (size_t d = rank; d-- > 0;) {
      const int64_t at = rest % box.extent[d];
      rest /= box.extent[d];
      logical += (box.logical_begin[d] + at) * logical_stride;
      local += (box.local_begin[d] + at) * local_stride;
      logical_stride *= logical_shape[d];
      local_stride *= local_shape[d];
    }
    visit(logical, local);
  }
}

// What the ranks kept, put together.
class Whole {
 public:
  explicit Whole(double tolerance) : tolerance_(tolerance) {}

  void Add(const Kept& kept, const ShardSpec& place) {
    switch (kept.kind) {
      case Kept::Kind::kRows:
      case Kept::Kind::kGradientRows:
        return AddRows(kept);
      case Kept::Kind::kSame:
        return AddSame(kept, kept.values);
      case Kept::Kind::kPart:
        return AddPart(kept.name, kept.values);
      case Kept::Kind::kParameter:
        return AddGradient(kept, place);
    }
  }

  // Ends the sums. To be called once.
  std::map<std::string, std::vector<double>> Take() {
    for (auto& [key, values] : replicated_) AddPart(key.first, values);
    return std::move(tensors_);
  }

 private:
  void AddRows(const Kept& kept) {
    const int64_t rows = kept.shard.rows();
    const int64_t columns = rows == 0 ? 0 : std::ssize(kept.values) / rows;
    std::vector<double>& all = tensors_[absl::StrCat(kept.name, " of lane ", kept.lane)];
    all.resize(kept.shard.num_tokens * columns, std::numeric_limits<double>::quiet_NaN());
    const int64_t owned = kept.shard.num_owned() * columns;
    std::copy_n(kept.values.begin(), owned, all.begin() + kept.shard.begin() * columns);
    for (int64_t i = owned; i < std::ssize(kept.values); ++i) {
      const bool fine =
          kept.kind == Kept::Kind::kRows ? std::isfinite(kept.values[i]) : kept.values[i] == 0;
      if (fine) continue;
      ADD_FAILURE() << kept.name << " of lane " << kept.lane << ", rank " << kept.shard.rank
                    << ", has " << kept.values[i] << " in its padding";
      return;
    }
  }

  void AddSame(const Kept& kept, const std::vector<double>& values) {
    const std::string name = absl::StrCat(kept.name, " of lane ", kept.lane);
    const auto [at, added] = tensors_.emplace(name, values);
    if (!added) ExpectClose(name + " on another rank", values, at->second, tolerance_);
  }

  void AddPart(const std::string& name, const std::vector<double>& values) {
    std::vector<double>& sum = tensors_[name];
    sum.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) sum[i] += values[i];
  }

  void AddGradient(const Kept& kept, const ShardSpec& place) {
    const hetero::Shard shard = ShardOf(kept.spec, place).value();
    std::vector<double> all(kept.spec.num_elements());
    for (const ShardBox& box : shard.boxes) {
      VisitBox(box, kept.spec.shape, shard.shape,
               [&](int64_t logical, int64_t local) { all[logical] = kept.values[local]; });
    }
    if (HasParts(kept.spec)) return AddPart(kept.name, all);
    const auto [at, added] = replicated_.emplace(std::pair(kept.name, kept.lane), all);
    if (!added) ExpectClose(kept.name + " on another rank", all, at->second, tolerance_);
  }

  double tolerance_;
  std::map<std::string, std::vector<double>> tensors_;
  std::map<std::pair<std::string, int64_t>, std::vector<double>> replicated_;  // name and lane
};

ShardSpec ShardIn(const Grid& grid, GlobalRank rank) {
  const auto axis = [&](Axis axis) {
    return ShardSpec::Axis{.rank = grid.Coord(rank, axis), .size = grid.Size(axis)};
  };
  return {.tp = axis(Axis::kTp), .ep = axis(Axis::kEp), .expt_tp = axis(Axis::kExptTp)};
}

// A rank's communicators, which end before the run does.
struct OwnedCommunicators {
  std::vector<std::unique_ptr<Communicator>> owned;
  ModuleCommunicators by_family;
};

absl::StatusOr<OwnedCommunicators> MakeCommunicators(const Grid& grid, GlobalRank rank,
                                                     CommunicatorFactory& factory) {
  OwnedCommunicators result;
  for (int i = 0; i < kNumFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    const std::optional<Group> group = grid.GroupOf(family, rank);
    if (!group.has_value() || group->size() < 2) continue;
    HETERO_ASSIGN_OR_RETURN(
        std::unique_ptr<Communicator> communicator,
        factory.Create({.channel = std::string(FamilyName(family)), .members = *group}));
    result.by_family.Set(family, communicator.get());
    result.owned.push_back(std::move(communicator));
  }
  return result;
}

// Runs `run` on one rank of `grid`; with a factory of loopback, alone.
absl::StatusOr<std::unique_ptr<ParallelRig>> RunRank(
    const Grid& grid, GlobalRank rank, CommunicatorFactory& factory, Device device, uint64_t seed,
    const std::function<absl::Status(ParallelRig&)>& run, const LikeOneRankOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const OwnedCommunicators communicators,
                          MakeCommunicators(grid, rank, factory));
  auto rig =
      std::make_unique<ParallelRig>(ParallelRig::Place{.rank = rank,
                                                       .shard = ShardIn(grid, rank),
                                                       .communicators = communicators.by_family,
                                                       .lanes = {grid.LaneOf(rank).value()}},
                                    device, seed, options.weight_gradients_later);
  HETERO_RETURN_IF_ERROR(run(*rig));
  return rig;
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

void ExpectLikeOneRank(const GridSpec& spec, const std::function<absl::Status(ParallelRig&)>& run,
                       const LikeOneRankOptions& options) {
  const Grid grid = Grid::Make(spec).value();
  CHECK_EQ(grid.Size(Axis::kPp) * grid.Size(Axis::kCp), 1);
  const uint64_t seed = FreshSeed();
  SCOPED_TRACE(absl::StrCat(grid.base().ToString(), "; ", grid.expert().ToString(), "; seed ", seed,
                            options.weight_gradients_later ? "; weight gradients later" : ""));

  std::vector<int64_t> lanes(grid.num_lanes());
  std::iota(lanes.begin(), lanes.end(), 0);
  ParallelRig alone({.lanes = lanes}, {}, seed, /*weight_gradients_later=*/false);
  ASSERT_THAT(run(alone), ::absl_testing::IsOk()) << "on one rank";
  Whole expected(options.tolerance);
  for (const Kept& kept : alone.kept()) expected.Add(kept, {});

  std::vector<std::unique_ptr<ParallelRig>> ranks(grid.num_ranks());
  ASSERT_THAT(RunRanks(grid.num_ranks(),
                       [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                         HETERO_ASSIGN_OR_RETURN(
                             ranks[rank.value()],
                             RunRank(grid, rank, factory, {}, seed, run, options));
                         return absl::OkStatus();
                       }),
              ::absl_testing::IsOk());
  Whole actual(options.tolerance);
  for (const auto& rig : ranks) {
    for (const Kept& kept : rig->kept()) actual.Add(kept, rig->shard());
  }

  const std::map<std::string, std::vector<double>> expected_tensors = expected.Take();
  const std::map<std::string, std::vector<double>> actual_tensors = actual.Take();
  ASSERT_EQ(actual_tensors.size(), expected_tensors.size());
  for (const auto& [name, values] : expected_tensors) {
    const auto found = actual_tensors.find(name);
    ASSERT_NE(found, actual_tensors.end()) << name;
    ExpectClose(name, found->second, values, options.tolerance);
  }

  if (!options.predictable) return;
  for (const auto& rig : ranks) {
    const auto factory = LoopbackFactory(rig->rank(), grid.num_ranks());
    const absl::StatusOr<std::unique_ptr<ParallelRig>> predicted =
        RunRank(grid, rig->rank(), *factory, {.kind = DeviceKind::kShapeOnly}, seed, run, options);
    ASSERT_THAT(predicted, ::absl_testing::IsOk()) << "on a shape-only rank " << rig->rank();
    const ParallelRig::Cost prediction = (*predicted)->cost(), cost = rig->cost();
    EXPECT_EQ(cost.activation_bytes, prediction.activation_bytes) << "rank " << rig->rank();
    EXPECT_EQ(cost.workspace_bytes, prediction.workspace_bytes) << "rank " << rig->rank();
    EXPECT_EQ(cost.parameter_bytes, prediction.parameter_bytes) << "rank " << rig->rank();
    if (options.predictable_operations) {
      EXPECT_EQ(cost.flops, prediction.flops) << "rank " << rig->rank();
    }
  }
}

}  // namespace hetero
