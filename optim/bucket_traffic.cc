#include "hetero/optim/bucket_traffic.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <set>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
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

absl::StatusOr<std::unique_ptr<BucketTraffic>> BucketTraffic::Create(
    std::string_view stage, ParameterStore& store, const GradientGroups& groups,
    const TrafficOptions& options, SideStream& side, Device device, MemoryLedger& ledger) {
  auto traffic = std::unique_ptr<BucketTraffic>(new BucketTraffic(options, side));
  for (size_t i = 0; i < store.groups().size(); ++i) {
    traffic->AddBuckets(stage, store.groups()[i], i, groups);
  }
  // Stable: buckets of one layer keep the order of their groups.
  std::ranges::stable_sort(traffic->buckets_, std::greater<>(), &Bucket::layer);
  int64_t packed_bytes = 0;
  for (const Bucket& bucket : traffic->buckets_) {
    for (const Partial& partial : bucket.partials) {
      packed_bytes =
          std::max(packed_bytes, partial.num_elements * SizeOf(bucket.group->gradients.dtype()));
    }
  }
  HETERO_ASSIGN_OR_RETURN(traffic->packed_, Buffer::Allocate(device, MemoryLabel::kMainGradients,
                                                             packed_bytes, ledger));
  traffic->num_needed_ = traffic->buckets_.size();
  return traffic;
}

void BucketTraffic::AddBuckets(std::string_view stage, FlatGroup& group, size_t number,
                               const GradientGroups& groups) {
  const bool dense = group.gradient_group == GradientGroup::kDense;
  Communicator* const communicator = dense ? groups.dense : groups.expert;
  CHECK_EQ(communicator == nullptr ? 1 : communicator->size(), group.buckets.shares());
  const std::span<const BucketPlan::Bucket> plan = group.buckets.buckets();
  for (size_t b = 0; b < plan.size(); ++b) {
    const std::string suffix = absl::StrCat(dense ? "dense" : "expert", number, ".bucket", b);
    Bucket bucket{.group = &group,
                  .index = b,
                  .layer = group.segments[plan[b].first].parameter->spec->layer,
                  .communicator = communicator,
                  .gradients_name = absl::StrCat(stage, ".grad.", suffix),
                  .values_name = absl::StrCat(stage, ".param.", suffix)};
    for (const FlatSegment& segment :
         std::span(group.segments).subspan(plan[b].first, plan[b].num_parameters)) {
      for (const SharedRun& run : segment.runs) {
        if (!run.partial) continue;
        const auto replicas = groups.partial.find(run.replicas);
        CHECK(replicas != groups.partial.end() && replicas->second != nullptr)
            << segment.parameter->spec->name << " is summed over " << run.replicas << " ranks";
        auto partial = std::ranges::find(bucket.partials, replicas->second, &Partial::communicator);
        if (partial == bucket.partials.end()) {
          bucket.partials.push_back(
              {.name = absl::StrCat(bucket.gradients_name, ".partial", run.replicas),
               .communicator = replicas->second});
          partial = bucket.partials.end() - 1;
        }
        partial->gradients.push_back(group.gradients.Rows(run.begin, run.count));
        partial->num_elements += run.count;
      }
    }
    buckets_.push_back(std::move(bucket));
  }
}

absl::Status BucketTraffic::Needed(int layer) {
  while (num_needed_ < buckets_.size()) {
    Bucket& next = buckets_[buckets_.size() - 1 - num_needed_];
    if (next.layer > layer) break;
    ++num_needed_;
    HETERO_RETURN_IF_ERROR(side_.Join(std::move(next.gathered), "wait for parameters"));
  }
  return absl::OkStatus();
}

absl::Status BucketTraffic::AllNeeded() { return Needed(kLastLayer); }

absl::Status BucketTraffic::Ready(int layer) {
  return options_.overlap_gradient_reduce ? ReduceFrom(layer) : absl::OkStatus();
}

absl::Status BucketTraffic::AllReady() { return Ready(std::numeric_limits<int>::min()); }

absl::Status BucketTraffic::ReduceFrom(int layer) {
  const size_t first = num_reduced_;
  while (num_reduced_ < buckets_.size() && buckets_[num_reduced_].layer >= layer) ++num_reduced_;
  if (first == num_reduced_) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark end, side_.Run([&](Stream& beside) -> absl::Status {
    for (size_t i = first; i < num_reduced_; ++i) {
      HETERO_RETURN_IF_ERROR(Reduce(buckets_[i], beside));
    }
    return absl::OkStatus();
  }));
  reduced_.push_back(std::move(end));
  return absl::OkStatus();
}

absl::Status BucketTraffic::Reduce() {
  // Before the update writes them.
  HETERO_RETURN_IF_ERROR(AllNeeded());
  HETERO_RETURN_IF_ERROR(ReduceFrom(std::numeric_limits<int>::min()));
  num_reduced_ = 0;
  for (SideStream::Mark& end : reduced_) {
    HETERO_RETURN_IF_ERROR(side_.Join(std::move(end), "wait for gradients"));
  }
  reduced_.clear();
  return absl::OkStatus();
}

absl::Status BucketTraffic::Reduce(const Bucket& bucket, Stream& beside) {
  FlatGroup& group = *bucket.group;
  HETERO_RETURN_IF_ERROR(ParameterStore::FinishGradients(group, bucket.index, beside));
  for (const Partial& partial : bucket.partials) {
    HETERO_RETURN_IF_ERROR(Sum(partial, beside));
  }
  if (bucket.communicator == nullptr) return absl::OkStatus();
  const ElementRange whole = group.buckets.buckets()[bucket.index].range;
  const ElementRange own = group.buckets.Own(bucket.index, bucket.communicator->rank().value());
  return bucket.communicator->ReduceScatter(group.gradients.Rows(whole.begin, whole.count),
                                            group.gradients.Rows(own.begin, own.count), beside,
                                            bucket.gradients_name);
}

absl::Status BucketTraffic::Sum(const Partial& partial, Stream& beside) {
  const TensorView packed = packed_.View(partial.gradients.front().dtype(), {partial.num_elements});
  int64_t begin = 0;
  for (const TensorView& gradient : partial.gradients) {
    HETERO_RETURN_IF_ERROR(Copy(gradient, packed.Rows(begin, gradient.dim(0)), beside));
    begin += gradient.dim(0);
  }
  HETERO_RETURN_IF_ERROR(
      partial.communicator->AllReduce(packed, packed, ReduceOp::kSum, beside, partial.name));
  begin = 0;
  for (const TensorView& gradient : partial.gradients) {
    HETERO_RETURN_IF_ERROR(Copy(packed.Rows(begin, gradient.dim(0)), gradient, beside));
    begin += gradient.dim(0);
  }
  return absl::OkStatus();
}

absl::Status BucketTraffic::Gather() {
  // What forward needs first goes first.
  for (size_t i = buckets_.size(); i-- > 0;) {
    Bucket& bucket = buckets_[i];
    if (bucket.communicator == nullptr) continue;
    HETERO_ASSIGN_OR_RETURN(bucket.gathered,
                            side_.Run([&](Stream& beside) { return Gather(bucket, beside); }));
  }
  num_needed_ = 0;
  return options_.overlap_parameter_gather ? absl::OkStatus() : AllNeeded();
}

absl::Status BucketTraffic::Gather(const Bucket& bucket, Stream& beside) {
  const FlatGroup& group = *bucket.group;
  const ElementRange whole = group.buckets.buckets()[bucket.index].range;
  const ElementRange own = group.buckets.Own(bucket.index, bucket.communicator->rank().value());
  return bucket.communicator->AllGather(group.values.Rows(own.begin, own.count),
                                        group.values.Rows(whole.begin, whole.count), beside,
                                        bucket.values_name);
}

}  // namespace hetero
