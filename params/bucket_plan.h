#ifndef HETERO_PARAMS_BUCKET_PLAN_H_
#define HETERO_PARAMS_BUCKET_PLAN_H_

// How a flat buffer of parameters is cut: into buckets, which travel one by one, and these into the
// shares of data-parallel ranks. Sums of gradients, statistics, moments, masters and gathers of
// parameters all go by this one partition.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hetero/params/bucket_options.h"

namespace hetero {

struct ElementRange {
  int64_t begin = 0;
  int64_t count = 0;

  int64_t end() const { return begin + count; }
  bool operator==(const ElementRange&) const = default;
};

// The part of `a` that is in `b`; count 0 where there is none.
ElementRange Intersect(const ElementRange& a, const ElementRange& b);

// Elements with which a bucket ends, by `options`; 0: after every parameter. `all_parameters`:
// elements of all parameters that the rank holds of the stage, frozen ones too. `shares`: of the
// dense parameters.
int64_t BucketElements(const BucketOptions& options, int64_t all_parameters, int64_t shares);

// The last parameter comes first, since backward completes it first. Parameters begin at multiples
// of kParameterAlignment, and what lies between them belongs to nobody and stays zero.
class BucketPlan {
 public:
  static constexpr int64_t kParameterAlignment = 64;
  static constexpr int64_t kShareAlignment = 128;

  struct Bucket {
    ElementRange range;         // its length divides into shares of multiples of kShareAlignment
    int64_t used = 0;           // of it, up to the end of the last parameter
    size_t first = 0;           // of the parameters in it, the one that comes first in forward,
    size_t num_parameters = 0;  // and how many follow each other
  };

  BucketPlan() = default;

  // `counts`: elements of the parameters, in the order of forward. Preconditions: shares >= 1,
  // bucket_elements >= 0.
  BucketPlan(std::span<const int64_t> counts, int64_t shares, int64_t bucket_elements,
             bool pad_for_bus_bandwidth = false);

  // In the order of the buffer, which is that of backward.
  std::span<const Bucket> buckets() const { return buckets_; }
  // Where each parameter begins.
  std::span<const int64_t> begins() const { return begins_; }
  int64_t shares() const { return shares_; }
  int64_t length() const { return length_; }

  // What a share owns of bucket `b`. Shares are equal.
  ElementRange Own(size_t b, int64_t share) const;
  // All that a share owns has so many elements, bucket after bucket: where those of `b` begin.
  int64_t own_length() const { return length_ / shares_; }
  int64_t OwnBegin(size_t b) const { return buckets_[b].range.begin / shares_; }

 private:
  int64_t shares_ = 1;
  int64_t length_ = 0;
  std::vector<int64_t> begins_;
  std::vector<Bucket> buckets_;
};

}  // namespace hetero

#endif  // HETERO_PARAMS_BUCKET_PLAN_H_
