#ifndef HETERO_DATA_ENERGON_SUBSET_H_
#define HETERO_DATA_ENERGON_SUBSET_H_

// A consecutive part of a data set: of its samples by number, then of those by share.

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "hetero/base/index_range.h"

namespace hetero::data {

struct Subset {
  struct Samples {
    int64_t begin = 0;
    std::optional<int64_t> end;  // unset: that of the data set

    bool operator==(const Samples&) const = default;
  };

  std::optional<Samples> samples;
  double begin = 0;  // shares of the samples, 0 to 1
  double end = 1;

  bool operator==(const Subset&) const = default;
};

// `outer` of what `inner` leaves. Precondition: `outer` has no samples by number.
Subset Compose(const Subset& inner, const Subset& outer);

// The samples of a data set of `size`. Shares are cut to whole samples, towards 0.
// Errors: INVALID_ARGUMENT naming the numbers where they do not lie within the data set.
absl::StatusOr<IndexRange> Apply(const Subset& subset, int64_t size);

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_SUBSET_H_
