#ifndef HETERO_MODELS_TESTING_RESIDUAL_BLOCK_RIG_H_
#define HETERO_MODELS_TESTING_RESIDUAL_BLOCK_RIG_H_

// A block of the residual stream on the ranks of a grid (parallel_rig.h).

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Forward and backward of the microbatches of all lanes, and everything that is compared.
template <typename Block>
absl::Status RunResidualBlock(ParallelRig& rig, ParameterStore& parameters, const Block& block,
                              int64_t hidden_size, const SequenceBatch& batch) {
  const int64_t tokens = batch.num_tokens();
  for (const int64_t lane : rig.lanes()) {
    const TensorView hidden_RH = rig.OwnRows(rig.Normal("hidden", lane, tokens, hidden_size));
    typename Block::Saved saved;
    HETERO_ASSIGN_OR_RETURN(const TensorView out_RH,
                            block.Forward(rig.context(), hidden_RH, batch, saved));
    rig.KeepRows("out", lane, out_RH, tokens);
    const TensorView d_hidden_RH = rig.OwnRows(rig.Normal("d out", lane, tokens, hidden_size));
    HETERO_RETURN_IF_ERROR(block.Backward(rig.context(), saved, d_hidden_RH));
    rig.KeepGradientRows("d hidden", lane, d_hidden_RH, tokens);
  }
  return rig.KeepGradients(parameters);
}

// On `tensor_parallel` ranks, the weight gradients at once and later, with selective recompute too:
// a microbatch of one sequence and one of three whose tokens do not fill the shards, and two lanes.
// `run(rig, batch)` makes the block and calls RunResidualBlock.
inline void ExpectBlockLikeOneRank(
    int64_t tensor_parallel,
    absl::FunctionRef<absl::Status(ParallelRig&, const SequenceBatch&)> run) {
  struct Case {
    int64_t num_sequences;
    int64_t num_lanes;
    bool weight_gradients_later;
    bool selective_recompute;
  };
  constexpr int64_t kSequenceLength = 7;
  for (const Case& of :
       {Case{1, 1, false, false}, Case{3, 1, false, false}, Case{3, 2, false, false},
        Case{3, 2, true, false}, Case{3, 2, false, true}, Case{3, 2, true, true}}) {
    ExpectLikeOneRank(
        {.name = "module", .num_ranks = tensor_parallel * of.num_lanes, .tp = tensor_parallel},
        [&](ParallelRig& rig) {
          return run(rig, rig.Sequences(of.num_sequences, kSequenceLength));
        },
        {.weight_gradients_later = of.weight_gradients_later,
         .selective_recompute = of.selective_recompute});
  }
}

// What making a block says on the first of `tensor_parallel` ranks, whose shards its sizes may not
// divide into.
template <typename Block, typename Config>
absl::Status MakingBlock(const Config& config, int64_t tensor_parallel) {
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          ParameterTable::Make(Block::Parameters(config, "l.")));
  MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<ParameterStore> parameters,
      ParameterStore::Create(table, {.tp = {.rank = 0, .size = tensor_parallel}}, {}, memory));
  Group ranks;
  for (int64_t rank = 0; rank < tensor_parallel; ++rank) ranks.push_back(GlobalRank(rank));
  const auto factory = LoopbackFactory(GlobalRank(0), tensor_parallel);
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> communicator,
                          factory->Create({.channel = "tp", .members = ranks}));
  return Block::Create(config, "l.", *parameters, communicator.get()).status();
}

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_RESIDUAL_BLOCK_RIG_H_
