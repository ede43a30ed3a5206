#include "hetero/ckpt/publish/retention.h"

#include <algorithm>

namespace hetero {

std::vector<int64_t> IterationsToDelete(std::span<const int64_t> published, int64_t tracker,
                                        const RetentionOptions& options) {
  if (options.keep_last <= 0) return {};
  const auto end = std::upper_bound(published.begin(), published.end(), tracker);
  const int64_t counted = end - published.begin();
  std::vector<int64_t> deleted;
  for (int64_t i = 0; i < counted - options.keep_last; ++i) {
    const int64_t iteration = published[i];
    const bool multiple = options.keep_every > 0 && iteration % options.keep_every == 0;
    const bool pinned = std::count(options.pinned.begin(), options.pinned.end(), iteration) > 0;
    if (!multiple && !pinned && iteration != tracker) deleted.push_back(iteration);
  }
  return deleted;
}

}  // namespace hetero
