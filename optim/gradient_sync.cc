#include "hetero/optim/gradient_sync.h"

#include <cstddef>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {

GradientSync::GradientSync(std::string module, ParameterStore& store, const GradientGroups& groups,
                           int64_t bucket_elements)
    : partial_name_(absl::StrCat(module, ".grad.partial")),
      sequence_parallel_(groups.sequence_parallel) {
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
      if (segment.spec->partial_over_tp && sequence_parallel_ != nullptr) {
        partial_.push_back(group.gradients.Rows(segment.begin, segment.count));
        partial_dtype_ = group.gradients.dtype();
        partial_elements_ += segment.count;
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

absl::Status GradientSync::Run(Stream& stream) {
  for (const Bucket& bucket : buckets_) {
    HETERO_RETURN_IF_ERROR(bucket.communicator->AllReduce(bucket.gradients, bucket.gradients,
                                                          ReduceOp::kSum, stream, bucket.name));
  }
  return partial_.empty() ? absl::OkStatus() : SumPartial(stream);
}

absl::Status GradientSync::SumPartial(Stream& stream) {
  const ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView packed,
                          stream.workspace().Allocate(partial_dtype_, {partial_elements_}));
  int64_t begin = 0;
  for (const TensorView& gradient : partial_) {
    HETERO_RETURN_IF_ERROR(Copy(gradient, packed.Rows(begin, gradient.dim(0)), stream));
    begin += gradient.dim(0);
  }
  HETERO_RETURN_IF_ERROR(
      sequence_parallel_->AllReduce(packed, packed, ReduceOp::kSum, stream, partial_name_));
  begin = 0;
  for (const TensorView& gradient : partial_) {
    HETERO_RETURN_IF_ERROR(Copy(packed.Rows(begin, gradient.dim(0)), gradient, stream));
    begin += gradient.dim(0);
  }
  return absl::OkStatus();
}

}  // namespace hetero
