#include "hetero/data/energon/subset.h"

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace hetero::data {

Subset Compose(const Subset& inner, const Subset& outer) {
  const double length = inner.end - inner.begin;
  return {.samples = inner.samples,
          .begin = inner.begin + outer.begin * length,
          .end = inner.begin + outer.end * length};
}

absl::StatusOr<IndexRange> Apply(const Subset& subset, int64_t size) {
  const Subset::Samples samples = subset.samples.value_or(Subset::Samples());
  const int64_t end = samples.end.value_or(size);
  if (samples.begin < 0 || samples.begin > end || end > size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the range is [%d, %d]; of %d samples, 0 <= begin <= end <= %d is accepted",
                        samples.begin, end, size, size));
  }
  const auto share = [&](double of) {
    return samples.begin + static_cast<int64_t>(static_cast<double>(end - samples.begin) * of);
  };
  return IndexRange{.first = share(subset.begin), .count = share(subset.end) - share(subset.begin)};
}

}  // namespace hetero::data
