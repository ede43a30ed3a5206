#ifndef HETERO_CKPT_SAVE_MEMORY_H_
#define HETERO_CKPT_SAVE_MEMORY_H_

// How much host memory a rank takes for saving. Pure.

#include <cstdint>
#include <vector>

#include "hetero/ckpt/save.h"
#include "hetero/ckpt/snapshot.h"

namespace hetero {

// Of slots that these files go through.
int64_t RingBytes(const std::vector<FilePlan>& files, const SaveOptions& options);

// Of host memory that Saver::Prepare takes and keeps, whatever there is to write.
// Precondition: options.ring_bytes > 0.
int64_t SaveMemoryBytes(const SaveOptions& options);

// The largest SaveOptions::ring_bytes with which that is at most `memory_bytes`; 0 where every one
// takes more.
int64_t LargestRing(int64_t memory_bytes, const SaveOptions& options);

}  // namespace hetero

#endif  // HETERO_CKPT_SAVE_MEMORY_H_
