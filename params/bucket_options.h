#ifndef HETERO_PARAMS_BUCKET_OPTIONS_H_
#define HETERO_PARAMS_BUCKET_OPTIONS_H_

// How flat buffers are cut into buckets.

#include <cstdint>
#include <optional>

namespace hetero {

// With neither number buckets have a default size. Precondition: at most one of both is set.
struct BucketOptions {
  std::optional<int64_t> num_buckets;      // of a module's parameters, all its flat groups together
  std::optional<int64_t> bucket_elements;  // a bucket is closed when it has as many; 0: always
  // Lengths of buckets are multiples of 65,536 elements too, which suits the algorithms of NCCL for
  // many ranks.
  bool pad_for_bus_bandwidth = false;
};

}  // namespace hetero

#endif  // HETERO_PARAMS_BUCKET_OPTIONS_H_
