#ifndef HETERO_OPTIM_TESTING_RANK_RIG_H_
#define HETERO_OPTIM_TESTING_RANK_RIG_H_

// What a rank of a module has of the optimizer, in tests: a store, its traffic and its state, on a
// grid of one pipeline stage.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/module_grid.h"
#include "hetero/optim/bucket_traffic.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/optim/optimizer.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/side_stream.h"

namespace hetero {

inline Grid MakeGrid(GridSpec spec, std::string name = "language") {
  spec.name = std::move(name);
  return Grid::Make(spec).value();
}

inline ShardSpec PlaceOf(const Grid& grid, GlobalRank rank) {
  const auto axis = [&](Axis of) { return ShardSpec::Axis{grid.Coord(rank, of), grid.Size(of)}; };
  return {.tp = axis(Axis::kTp), .ep = axis(Axis::kEp), .expt_tp = axis(Axis::kExptTp), .pp = {}};
}

// One parameter of every way to lie on ranks. The columns of qkv that two groups share are whole.
inline std::vector<ParameterSpec> EveryWayToShare(DType storage = DType::kF32) {
  std::vector<ParameterSpec> specs = {
      {.name = "embedding", .shape = {10, 3}, .dims = {{.axis = ShardAxis::kTp, .tile = 4}, {}}},
      {.name = "norm", .shape = {7}, .partial_over_tp = true, .decay = false},
      {.name = "qkv",
       .shape = {24, 3},
       .dims = {{ShardAxis::kTp, {{8}, {2, /*whole=*/true}, {2, true}}, /*units=*/2}, {}},
       .layer = 1},
      {.name = "in_proj",
       .shape = {24, 20},
       .dims = {{ShardAxis::kTp, {{8}, {8}, {4}, {4}}}, {}},
       .layer = 1},
      {.name = "proj", .shape = {5, 8}, .dims = {{}, {ShardAxis::kTp}}, .layer = 2},
      {.name = "alike", .shape = {6}, .decay = false, .layer = 2},
      {.name = "experts",
       .shape = {4, 2, 30},
       .dims = {{ShardAxis::kEp}, {ShardAxis::kExptTp}, {}},
       .gradient_group = GradientGroup::kExpert,
       .layer = 2},
      {.name = "head", .shape = {11, 6}, .layer = kLastLayer}};
  for (ParameterSpec& spec : specs) {
    spec.storage = storage;
    spec.init = Init::Normal(0.5);
  }
  return specs;
}

// Calls function(index in the logical tensor, index in the local one of `local_shape`) for each
// element of `box`.
template <typename Function>
void ForEachElement(const std::vector<int64_t>& logical_shape,
                    const std::vector<int64_t>& local_shape, const ShardBox& box,
                    Function function) {
  int64_t count = 1;
  for (const int64_t extent : box.extent) count *= extent;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, logical = 0, local = 0, logical_stride = 1, local_stride = 1;
    for (size_t d = logical_shape.size(); d-- > 0;) {
      const int64_t at = rest % box.extent[d];
      rest /= box.extent[d];
      logical += (box.logical_begin[d] + at) * logical_stride;
      local += (box.local_begin[d] + at) * local_stride;
      logical_stride *= logical_shape[d];
      local_stride *= local_shape[d];
    }
    function(logical, local);
  }
}

struct RankOptions {
  ModuleOptimizerOptions optimizer;
  TrafficOptions traffic;
};

struct RankRig {
  // `factory` is needed where `on_grid` has several ranks. On the CPU, or only its shape.
  RankRig(const ParameterTable& table, const Grid& on_grid, GlobalRank rank,
          const RankOptions& options, CommunicatorFactory* factory = nullptr,
          DeviceKind device = DeviceKind::kCpu)
      : stream(device),
        grid(on_grid),
        place(PlaceOf(grid, rank)),
        dense_group(*grid.GroupOf(Family::kDpCp, rank)),
        expert_group(*grid.GroupOf(Family::kExptDp, rank)),
        store(ParameterStore::Create(table, place, stream->device(), memory,
                                     SharingOf(grid, rank, options.optimizer.buckets))
                  .value()),
        side(SideStream::Create(*stream).value()) {
    const auto make = [&](std::string channel, const Group& group) -> Communicator* {
      if (group.size() < 2) return nullptr;
      CHECK(factory != nullptr);
      communicators.push_back(factory->Create({std::move(channel), group}).value());
      return communicators.back().get();
    };
    GradientGroups groups{.dense = make("dense", dense_group),
                          .expert = make("expert", expert_group)};
    for (const int64_t size : PartialReplicas(store->groups())) {
      groups.partial[size] =
          make(absl::StrCat("partial", size), *grid.PartOf(Family::kTp, rank, size));
    }
    traffic = BucketTraffic::Create(grid.name(), *store, groups, options.traffic, *side,
                                    stream->device(), memory)
                  .value();
    module =
        ModuleOptimizer::Create(options.optimizer, *store, grid, rank, stream->device(), memory)
            .value();
  }

  // Of a run that has `options.modules`; of this module alone without any.
  void MakeOptimizer(OptimizerOptions options, Communicator* control = nullptr) {
    if (options.modules.empty()) options.modules = {Description()};
    optimizer =
        Optimizer::Create(std::move(options), {module.get()}, control, *stream, memory).value();
  }

  OptimizedModule Description() const {
    return {.name = grid.name(),
            .parameters = store->table().TrainedNames(),
            .groups = GroupsOf(store->table()),
            .clip_share = module->options().clip_share};
  }

  std::span<float> values(std::string_view name) {
    return store->Find(name).value()->value.values<float>();
  }
  // As a backward that writes it.
  std::span<float> gradient(std::string_view name) {
    Parameter& parameter = *store->Find(name).value();
    parameter.gradient_written = true;
    return parameter.gradient.values<float>();
  }

  MemoryLedger memory;
  StreamWithWorkspace stream;
  const Grid grid;
  const ShardSpec place;
  const Group dense_group;
  const Group expert_group;
  std::vector<std::unique_ptr<Communicator>> communicators;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<SideStream> side;
  std::unique_ptr<BucketTraffic> traffic;
  std::unique_ptr<ModuleOptimizer> module;
  std::unique_ptr<Optimizer> optimizer;
};

// Read while a step is queued.
inline ConstTensorView Tokens(double count) {
  thread_local double tokens;
  tokens = count;
  return {&tokens, DType::kF64, {1}};
}

}  // namespace hetero

#endif  // HETERO_OPTIM_TESTING_RANK_RIG_H_
