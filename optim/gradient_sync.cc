#include "hetero/optim/gradient_sync.h"

#include <algorithm>
#include <cstddef>
#include <set>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {

std::vector<int64_t> PartialReplicas(std::span<const FlatGroup> groups) {
  std::set<int64_t> replicas;
  for (const FlatGroup& group : groups) {
    for (const FlatSegment& segment : group.segments) {
      for (const SharedRun& run : segment.runs) {
        if (run.partial) replicas.insert(run.replicas);
      }
    }
  }
  return {replicas.begin(), replicas.end()};
}

GradientSync::GradientSync(std::string module, ParameterStore& store, const GradientGroups& groups,
                           int64_t bucket_elements) {
  CHECK_GT(bucket_elements, 0);
  int num_groups = 0;
  for (const FlatGroup& group : store.groups()) {
    const bool dense = group.gradient_group == GradientGroup::kDense;
    const std::string prefix =
        absl::StrCat(module, ".grad.", dense ? "dense" : "expert", num_groups++, ".bucket");
    int num_buckets = 0;
    int64_t end = group.gradients.dim(0);
    for (size_t i = group.segments.size(); i-- > 0;) {
      const FlatSegment& segment = group.segments[i];
      for (const SharedRun& run : segment.runs) {
        if (!run.partial) continue;
        const auto communicator = groups.partial.find(run.replicas);
        CHECK(communicator != groups.partial.end() && communicator->second != nullptr)
            << segment.spec->name << " is summed over " << run.replicas << " ranks";
        Pack& pack = PackOf(communicator->second, group.gradients.dtype(), module);
        pack.gradients.push_back(group.gradients.Rows(run.begin, run.count));
        pack.num_elements += run.count;
      }
      if (end - segment.begin < bucket_elements && i > 0) continue;
      if (Communicator* const communicator = dense ? groups.dense : groups.expert) {
        buckets_.push_back({absl::StrCat(prefix, num_buckets++),
                            group.gradients.Rows(segment.begin, end - segment.begin),
                            communicator});
      }
      end = segment.begin;
    }
  }
}

GradientSync::Pack& GradientSync::PackOf(Communicator* communicator, DType dtype,
                                         std::string_view module) {
  const auto found = std::ranges::find_if(packs_, [&](const Pack& pack) {
    return pack.communicator == communicator && pack.dtype == dtype;
  });
  if (found != packs_.end()) return *found;
  packs_.push_back({.name = absl::StrCat(module, ".grad.partial", packs_.size()),
                    .communicator = communicator,
                    .dtype = dtype});
  return packs_.back();
}

absl::Status GradientSync::Run(Stream& stream) {
  for (const Bucket& bucket : buckets_) {
    HETERO_RETURN_IF_ERROR(bucket.communicator->AllReduce(bucket.gradients, bucket.gradients,
                                                          ReduceOp::kSum, stream, bucket.name));
  }
  for (const Pack& pack : packs_) HETERO_RETURN_IF_ERROR(Sum(pack, stream));
  return absl::OkStatus();
}

absl::Status GradientSync::Sum(const Pack& pack, Stream& stream) {
  const ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView packed,
                          stream.workspace().Allocate(pack.dtype, {pack.num_elements}));
  int64_t begin = 0;
  for (const TensorView& gradient : pack.gradients) {
    HETERO_RETURN_IF_ERROR(Copy(gradient, packed.Rows(begin, gradient.dim(0)), stream));
    begin += gradient.dim(0);
  }
  HETERO_RETURN_IF_ERROR(
      pack.communicator->AllReduce(packed, packed, ReduceOp::kSum, stream, pack.name));
  begin = 0;
  for (const TensorView& gradient : pack.gradients) {
    HETERO_RETURN_IF_ERROR(Copy(packed.Rows(begin, gradient.dim(0)), gradient, stream));
    begin += gradient.dim(0);
  }
  return absl::OkStatus();
}

}  // namespace hetero
