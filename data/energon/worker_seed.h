#ifndef HETERO_DATA_ENERGON_WORKER_SEED_H_
#define HETERO_DATA_ENERGON_WORKER_SEED_H_

// The seed of everything that one worker of a loader draws.

#include <cstdint>

namespace hetero::data {

// The last four bytes, big endian, of SHA-1 (FIPS 180-4) over "<worker>,<offset>" in decimal.
// worker: among the workers of all ranks. Precondition: worker >= 0.
uint32_t WorkerSeed(int64_t worker, int64_t offset);

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_WORKER_SEED_H_
