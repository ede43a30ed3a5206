#ifndef HETERO_OPTIM_GRADIENT_SYNC_H_
#define HETERO_OPTIM_GRADIENT_SYNC_H_

// Completes the gradients of one module at a step's end: plain sums, never divided. Every sample's
// gradient reaches exactly one data-parallel rank, so the sum over ranks divided by the run's
// tokens, which the optimizer does, is the gradient of the mean in any layout.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Communicators of the module, null where the group has one rank. All outlive the GradientSync.
struct GradientGroups {
  Communicator* dense = nullptr;   // of the ranks that share dense parameters: dp x cp
  Communicator* expert = nullptr;  // of those that share expert parameters
  // Of Grid::PartOf(Family::kTp, rank, size), by size: each of PartialReplicas.
  absl::flat_hash_map<int64_t, Communicator*> partial = {};
};

// Numbers of ranks between which parts of gradients lie, ascending: all tp ranks where blocks work
// on own tokens, fewer where they share a block that tp does not cut. Pure, and the same on every
// rank of a pipeline stage.
std::vector<int64_t> PartialReplicas(std::span<const FlatGroup> groups);

class GradientSync {
 public:
  // Sums run bucket by bucket; a bucket ends at the first parameter border at or above
  // `bucket_elements`, seen from the last parameter. `module` begins the names of the calls:
  // "language.grad.dense0.bucket3". Preconditions: bucket_elements > 0; `groups` has a partial
  // communicator for each of PartialReplicas(store.groups()).
  GradientSync(std::string module, ParameterStore& store, const GradientGroups& groups,
               int64_t bucket_elements = 40'000'000);

  // Sums the main gradients over the data-parallel ranks, then the parts of partial ones over those
  // that have them, packed into one call for each number of ranks and type. Called by every rank of
  // the module after FinishGradients of the store. Errors: those of Communicator::AllReduce and of
  // the stream's workspace.
  absl::Status Run(Stream& stream);

 private:
  struct Bucket {
    std::string name;
    TensorView gradients;
    Communicator* communicator;
  };

  // Runs of gradients that travel in one call.
  struct Pack {
    std::string name;
    Communicator* communicator;
    DType dtype;
    std::vector<TensorView> gradients = {};
    int64_t num_elements = 0;
  };

  Pack& PackOf(Communicator* communicator, DType dtype, std::string_view module);
  static absl::Status Sum(const Pack& pack, Stream& stream);

  std::vector<Bucket> buckets_;
  std::vector<Pack> packs_;
};

}  // namespace hetero

#endif  // HETERO_OPTIM_GRADIENT_SYNC_H_
