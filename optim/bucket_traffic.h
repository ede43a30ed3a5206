#ifndef HETERO_OPTIM_BUCKET_TRAFFIC_H_
#define HETERO_OPTIM_BUCKET_TRAFFIC_H_

// What data-parallel ranks tell each other of one stage's parameters (Rajbhandari et al., "ZeRO",
// stage 1, arXiv:1910.02054): every bucket of gradients is summed into the ranks' shares, plain
// sums, never divided, and after the update every share of the values is gathered by all. Every
// sample's gradient reaches exactly one data-parallel rank, so the sum over ranks divided by the
// run's tokens, which the optimizer does, is the gradient of the mean in any layout.
//
// Buckets travel beside the stage's work, each as soon as its gradients are written and before the
// next forward needs its values, in one order that is the same on all ranks of a group.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/parameter_traffic.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Communicators of the stage, null where the group has one rank. All outlive the traffic.
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

struct TrafficOptions {
  // Sums of buckets begin in the backward that completes them, else when that has ended.
  bool overlap_gradient_reduce = true;
  // The next forward waits for the values of a layer when it comes to it, else for all of them.
  bool overlap_parameter_gather = true;
};

class BucketTraffic : public ParameterTraffic {
 public:
  // `stage` begins the names of the calls: "language.0.grad.dense0.bucket3". `side` is of the
  // stream that the stage runs on; it, `store` and `ledger` outlive the traffic.
  // Preconditions: a communicator has as many ranks as the store's buckets have shares; `groups`
  // has a partial communicator for each of PartialReplicas(store.groups()).
  // Errors: those of Buffer::Allocate.
  static absl::StatusOr<std::unique_ptr<BucketTraffic>> Create(
      std::string_view stage, ParameterStore& store, const GradientGroups& groups,
      const TrafficOptions& options, SideStream& side, Device device, MemoryLedger& ledger);

  // Every rank of the stage makes all calls of a step in this order. Errors: those of the
  // communicators and of the side.

  absl::Status Needed(int layer) override;
  absl::Status Ready(int layer) override;

  // No backward writes gradients any more in this step: those that none wrote are zero. The sums
  // that are left begin, where they overlap.
  absl::Status AllReady();

  // What comes on the stream finds the sums in this rank's shares; the other shares hold nothing of
  // use. Parts of a gradient that tensor-parallel ranks have are summed too.
  absl::Status Reduce();

  // Sends this rank's shares of the values and fetches the others'.
  absl::Status Gather();

  // What comes on the stream finds all values.
  absl::Status AllNeeded();

 private:
  // Runs of a bucket's gradients of which `communicator`'s ranks have parts.
  struct Partial {
    std::string name;
    Communicator* communicator;
    std::vector<TensorView> gradients = {};
    int64_t num_elements = 0;
  };

  struct Bucket {
    FlatGroup* group;
    size_t index;                // in the group's plan
    int layer;                   // the first one with a parameter in it
    Communicator* communicator;  // null: it stays here
    std::string gradients_name, values_name;
    std::vector<Partial> partials = {};
    SideStream::Mark gathered = {};
  };

  BucketTraffic(const TrafficOptions& options, SideStream& side) : options_(options), side_(side) {}

  void AddBuckets(std::string_view stage, FlatGroup& group, size_t number,
                  const GradientGroups& groups);
  absl::Status ReduceFrom(int layer);
  absl::Status Reduce(const Bucket& bucket, Stream& beside);
  absl::Status Sum(const Partial& partial, Stream& beside);
  absl::Status Gather(const Bucket& bucket, Stream& beside);

  TrafficOptions options_;
  SideStream& side_;
  std::vector<Bucket> buckets_;            // in the order in which backward completes them
  Buffer packed_;                          // the largest Partial
  size_t num_reduced_ = 0;                 // of buckets_ in this step, from the first
  size_t num_needed_ = 0;                  // of buckets_ whose gather was waited for, from the last
  std::vector<SideStream::Mark> reduced_;  // ends of the sums under way
};

}  // namespace hetero

#endif  // HETERO_OPTIM_BUCKET_TRAFFIC_H_
