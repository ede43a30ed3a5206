#include "hetero/params/bucket_plan.h"

#include <algorithm>
#include <numeric>

#include "absl/log/check.h"
#include "hetero/base/rounding.h"

namespace hetero {
namespace {

constexpr int64_t kDefaultBucketElements = 40'000'000;
constexpr int64_t kBucketElementsPerShare = 1'000'000;
constexpr int64_t kBusAlignment = int64_t{1} << 16;

}  // namespace

ElementRange Intersect(const ElementRange& a, const ElementRange& b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max<int64_t>(std::min(a.end(), b.end()) - begin, 0)};
}

int64_t BucketElements(const BucketOptions& options, int64_t all_parameters, int64_t shares) {
  if (options.num_buckets.has_value()) {
    return std::max<int64_t>(all_parameters / *options.num_buckets, 1);
  }
  return options.bucket_elements.value_or(
      std::max(kDefaultBucketElements, kBucketElementsPerShare * shares));
}

BucketPlan::BucketPlan(std::span<const int64_t> counts, int64_t shares, int64_t bucket_elements,
                       bool pad_for_bus_bandwidth)
    : shares_(shares), begins_(counts.size()) {
  CHECK_GE(shares, 1);
  CHECK_GE(bucket_elements, 0);
  int64_t alignment = shares * kShareAlignment;
  if (pad_for_bus_bandwidth) alignment = std::lcm(alignment, kBusAlignment);
  size_t end = counts.size();  // the parameter after the open bucket
  for (size_t i = counts.size(); i-- > 0;) {
    const int64_t bucket_begin = buckets_.empty() ? 0 : buckets_.back().range.end();
    begins_[i] =
        i + 1 == end ? bucket_begin : RoundUp(begins_[i + 1] + counts[i + 1], kParameterAlignment);
    const int64_t used = begins_[i] + counts[i] - bucket_begin;
    if (i > 0 && used < bucket_elements) continue;
    buckets_.push_back({.range = {bucket_begin, RoundUp(used, alignment)},
                        .used = used,
                        .first = i,
                        .num_parameters = end - i});
    end = i;
  }
  if (!buckets_.empty()) length_ = buckets_.back().range.end();
}

ElementRange BucketPlan::Own(size_t b, int64_t share) const {
  const int64_t count = buckets_[b].range.count / shares_;
  return {buckets_[b].range.begin + share * count, count};
}

}  // namespace hetero
