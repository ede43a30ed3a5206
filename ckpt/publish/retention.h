#ifndef HETERO_CKPT_PUBLISH_RETENTION_H_
#define HETERO_CKPT_PUBLISH_RETENTION_H_

#include <cstdint>
#include <span>
#include <vector>

namespace hetero {

// Which checkpoints stay: those that any of these names.
struct RetentionOptions {
  int64_t keep_last = 0;             // the newest so many; 0: all
  int64_t keep_every = 0;            // iterations it divides; 0: none
  std::vector<int64_t> pinned = {};  // always
};

// Those of `published`, ascending, that go. The tracker's stays, and so do those above it: they are
// of a run that has been set back, and not counted.
std::vector<int64_t> IterationsToDelete(std::span<const int64_t> published, int64_t tracker,
                                        const RetentionOptions& options);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_RETENTION_H_
