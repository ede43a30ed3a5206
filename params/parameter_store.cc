#include "hetero/params/parameter_store.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "hetero/base/status.h"
#include "hetero/params/init.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

int64_t NumElements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

TensorView Flat(const TensorView& view) { return view.Reshape({view.num_elements()}); }

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterStore>> ParameterStore::Create(
    const ParameterTable& table, const ShardSpec& shard, Device device, MemoryLedger& ledger,
    const StoreSharing& sharing) {
  auto store = std::unique_ptr<ParameterStore>(new ParameterStore(table));
  // Frozen parameters and buffers get flat buffers of their own, without gradients.
  struct Members {
    std::vector<size_t> indices;
    std::vector<int64_t> counts;
  };
  std::map<std::tuple<DType, GradientGroup, bool>, Members> members;
  const std::span<const ParameterSpec> specs = store->table_.specs();
  int64_t num_held = 0;
  store->shards_.reserve(specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(Shard local, ShardOf(specs[i], shard));
    const bool trained = specs[i].trainable && !specs[i].is_buffer;
    Members& group = members[{specs[i].storage, specs[i].gradient_group, trained}];
    group.indices.push_back(i);
    group.counts.push_back(NumElements(local.shape));
    if (!specs[i].is_buffer) num_held += group.counts.back();
    store->shards_.push_back(std::move(local));
    store->parameters_.push_back(std::make_unique<Parameter>());
  }
  const int64_t bucket_elements = BucketElements(sharing.buckets, num_held, sharing.dense_ranks);
  for (const auto& [key, group] : members) {
    const auto& [storage, gradient_group, trained] = key;
    const bool dense = gradient_group == GradientGroup::kDense;
    FlatGroup flat{.storage = storage, .gradient_group = gradient_group};
    flat.buckets =
        trained ? BucketPlan(group.counts, dense ? sharing.dense_ranks : sharing.expert_ranks,
                             bucket_elements, sharing.buckets.pad_for_bus_bandwidth)
                : BucketPlan(group.counts, 1, std::numeric_limits<int64_t>::max());
    const int64_t length = flat.buckets.length();
    HETERO_ASSIGN_OR_RETURN(Buffer values, Buffer::Allocate(device, MemoryLabel::kWeights,
                                                            length * SizeOf(storage), ledger));
    flat.values = values.View(storage, {length});
    store->buffers_.push_back(std::move(values));
    if (trained) {
      const DType compute = ComputeDType(storage);
      HETERO_ASSIGN_OR_RETURN(
          Buffer gradients,
          Buffer::Allocate(device, MemoryLabel::kMainGradients, length * SizeOf(compute), ledger));
      flat.gradients = gradients.View(compute, {length});
      store->buffers_.push_back(std::move(gradients));
    }
    for (size_t i = 0; i < group.indices.size(); ++i) {
      const size_t index = group.indices[i];
      const ElementRange range = {flat.buckets.begins()[i], group.counts[i]};
      const Shard& local = store->shards_[index];
      Parameter& parameter = *store->parameters_[index];
      parameter.spec = &specs[index];
      parameter.value = flat.values.Rows(range.begin, range.count).Reshape(local.shape);
      if (trained) {
        parameter.gradient = flat.gradients.Rows(range.begin, range.count).Reshape(local.shape);
        std::vector<SharedRun> runs = SharedRuns(*parameter.spec, local);
        for (SharedRun& run : runs) run.begin += range.begin;
        flat.segments.push_back({range, &parameter, &local, std::move(runs)});
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

std::vector<StateTensor> ParameterStore::States(int64_t dense_replica,
                                                int64_t expert_replica) const {
  std::vector<StateTensor> states;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const ParameterSpec& spec = *parameters_[i]->spec;
    const bool of_experts = spec.gradient_group == GradientGroup::kExpert;
    states.push_back({.name = spec.name,
                      .shape = spec.shape,
                      .boxes = shards_[i].boxes,
                      .replica = of_experts ? expert_replica : dense_replica,
                      .local = parameters_[i]->value,
                      .constant = !spec.is_buffer && parameters_[i]->gradient.is_null()});
  }
  return states;
}

absl::Status ParameterStore::FinishGradients(Stream& stream) {
  for (FlatGroup& group : groups_) {
    for (size_t b = 0; b < group.buckets.buckets().size(); ++b) {
      HETERO_RETURN_IF_ERROR(FinishGradients(group, b, stream));
    }
  }
  return absl::OkStatus();
}

absl::Status ParameterStore::FinishGradients(FlatGroup& group, size_t bucket, Stream& stream) {
  const BucketPlan::Bucket& of = group.buckets.buckets()[bucket];
  for (const FlatSegment& segment :
       std::span(group.segments).subspan(of.first, of.num_parameters)) {
    if (std::exchange(segment.parameter->gradient_written, false)) continue;
    HETERO_RETURN_IF_ERROR(Fill(0, Flat(segment.parameter->gradient), stream));
  }
  return absl::OkStatus();
}

}  // namespace hetero
