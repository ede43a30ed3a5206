#include "hetero/params/parameter_store.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/params/init.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

int64_t AlignSegment(int64_t elements) { return RoundUp(elements, FlatGroup::kSegmentAlignment); }

TensorView Flat(const TensorView& view) { return view.Reshape({view.num_elements()}); }

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterStore>> ParameterStore::Create(const ParameterTable& table,
                                                                       const ShardSpec& shard,
                                                                       Device device,
                                                                       MemoryLedger& ledger) {
  auto store = std::unique_ptr<ParameterStore>(new ParameterStore(table));
  // Frozen parameters and buffers get flat buffers of their own, without gradients.
  struct Member {
    size_t index;
    int64_t begin;
  };
  struct Pending {
    int64_t size = 0;
    std::vector<Member> members;
  };
  std::map<std::tuple<DType, GradientGroup, bool>, Pending> pending;
  const std::span<const ParameterSpec> specs = store->table_.specs();
  for (size_t i = 0; i < specs.size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(Shard local, ShardOf(specs[i], shard));
    int64_t count = 1;
    for (int64_t dim : local.shape) count *= dim;
    const bool trained = specs[i].trainable && !specs[i].is_buffer;
    Pending& group = pending[{specs[i].storage, specs[i].gradient_group, trained}];
    group.members.push_back({i, group.size});
    group.size = AlignSegment(group.size + count);
    store->shards_.push_back(std::move(local));
    store->parameters_.push_back(std::make_unique<Parameter>());
  }
  for (const auto& [key, group] : pending) {
    const auto& [storage, gradient_group, trained] = key;
    HETERO_ASSIGN_OR_RETURN(Buffer values, Buffer::Allocate(device, MemoryLabel::kWeights,
                                                            group.size * SizeOf(storage), ledger));
    FlatGroup flat{.storage = storage,
                   .gradient_group = gradient_group,
                   .values = values.View(storage, {group.size}),
                   .gradients = {},
                   .segments = {}};
    store->buffers_.push_back(std::move(values));
    if (trained) {
      const DType compute = ComputeDType(storage);
      HETERO_ASSIGN_OR_RETURN(Buffer gradients,
                              Buffer::Allocate(device, MemoryLabel::kMainGradients,
                                               group.size * SizeOf(compute), ledger));
      flat.gradients = gradients.View(compute, {group.size});
      store->buffers_.push_back(std::move(gradients));
    }
    for (const Member& member : group.members) {
      const Shard& local = store->shards_[member.index];
      Parameter& parameter = *store->parameters_[member.index];
      parameter.spec = &specs[member.index];
      int64_t count = 1;
      for (int64_t dim : local.shape) count *= dim;
      parameter.value = flat.values.Rows(member.begin, count).Reshape(local.shape);
      if (trained) {
        parameter.gradient = flat.gradients.Rows(member.begin, count).Reshape(local.shape);
        std::vector<SharedRun> runs = SharedRuns(*parameter.spec, local);
        for (SharedRun& run : runs) run.begin += member.begin;
        flat.segments.push_back({member.begin, count, parameter.spec, std::move(runs)});
      }
      store->by_name_.emplace(parameter.spec->name, &parameter);
    }
    if (trained) store->groups_.push_back(std::move(flat));
  }
  return store;
}

absl::Status ParameterStore::Initialize(uint64_t seed, Stream& stream) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    HETERO_RETURN_IF_ERROR(
        hetero::Initialize(*parameters_[i]->spec, shards_[i], seed, parameters_[i]->value, stream));
  }
  return absl::OkStatus();
}

absl::StatusOr<Parameter*> ParameterStore::Find(std::string_view name) {
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) return found->second;
  return table_.Find(name).status();
}

absl::Status ParameterStore::FinishGradients(Stream& stream) {
  for (const std::unique_ptr<Parameter>& parameter : parameters_) {
    if (parameter->gradient.is_null()) continue;
    if (std::exchange(parameter->gradient_written, false)) continue;
    HETERO_RETURN_IF_ERROR(Fill(0, Flat(parameter->gradient), stream));
  }
  return absl::OkStatus();
}

}  // namespace hetero
