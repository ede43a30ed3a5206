#ifndef HETERO_PARAMS_PARAMETER_STORE_H_
#define HETERO_PARAMS_PARAMETER_STORE_H_

// The parameters a rank holds: values in one flat buffer per (storage type, gradient group), main
// gradients in a parallel flat buffer of the compute type, so that reduction and optimizer work on
// ranges instead of tensors.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/params/bucket_plan.h"
#include "hetero/params/shard.h"
#include "hetero/params/sharing.h"
#include "hetero/params/state_tensor.h"
#include "hetero/params/table.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// One parameter as modules see it.
struct Parameter {
  const ParameterSpec* spec = nullptr;
  TensorView value;     // the local shard
  TensorView gradient;  // same shape, compute type; null when not trainable

  // What a backward passes as `accumulate`: false on the first gradient of a step, then true.
  bool AccumulateGradient() { return std::exchange(gradient_written, true); }

  bool gradient_written = false;
};

// A parameter's place in a flat buffer, in elements.
struct FlatSegment {
  ElementRange range;
  Parameter* parameter = nullptr;
  const Shard* shard = nullptr;
  std::vector<SharedRun> runs;  // who shares it; places in the buffer
};

// Trainable parameters of one (storage type, gradient group). Elements between segments are zero in
// values and gradients.
struct FlatGroup {
  DType storage = DType::kF32;
  GradientGroup gradient_group = GradientGroup::kDense;
  TensorView values;                  // [n]
  TensorView gradients;               // [n], compute type
  std::vector<FlatSegment> segments;  // in the order of forward: the last begins at 0
  BucketPlan buckets;                 // whose parameters are the segments
};

// Between how many data-parallel ranks the state of an optimizer is divided, and in which buckets
// gradients go there and parameters come back.
struct StoreSharing {
  int64_t dense_ranks = 1;
  int64_t expert_ranks = 1;
  BucketOptions buckets = {};
};

class ParameterStore {
 public:
  // Allocates values (label weights) and main gradients of the trainable ones, all zero. `sharing`
  // is the same on all ranks that hold the same shard.
  // Errors: those of ShardOf and Buffer::Allocate.
  static absl::StatusOr<std::unique_ptr<ParameterStore>> Create(const ParameterTable& table,
                                                                const ShardSpec& shard,
                                                                Device device, MemoryLedger& ledger,
                                                                const StoreSharing& sharing = {});

  // Fills all values, on the device of the store, which is the stream's. Errors: those of
  // hetero::Initialize.
  absl::Status Initialize(uint64_t seed, Stream& stream);

  // Errors: NOT_FOUND as ParameterTable::Find.
  absl::StatusOr<Parameter*> Find(std::string_view name);

  // The values of all parameters and buffers, by their names. StateTensor::replica is
  // `expert_replica` of those of the experts' gradient group and `dense_replica` of the others:
  // other ranks hold the same.
  std::vector<StateTensor> States(int64_t dense_replica, int64_t expert_replica) const;

  const ParameterTable& table() const { return table_; }
  std::span<FlatGroup> groups() { return groups_; }
  std::span<const std::unique_ptr<Parameter>> parameters() const { return parameters_; }

  // Ends the accumulation of a step: gradients that no backward wrote become zero, and the next
  // step's first gradient overwrites.
  absl::Status FinishGradients(Stream& stream);

  // The same of the parameters of one bucket of a group.
  static absl::Status FinishGradients(FlatGroup& group, size_t bucket, Stream& stream);

 private:
  explicit ParameterStore(ParameterTable table) : table_(std::move(table)) {}

  ParameterTable table_;
  std::vector<Shard> shards_;  // parallel to parameters_
  std::vector<Buffer> buffers_;
  std::vector<FlatGroup> groups_;
  std::vector<std::unique_ptr<Parameter>> parameters_;
  absl::flat_hash_map<std::string_view, Parameter*> by_name_;
};

}  // namespace hetero

#endif  // HETERO_PARAMS_PARAMETER_STORE_H_
