#ifndef HETERO_TRAINER_REPLICA_CHECK_H_
#define HETERO_TRAINER_REPLICA_CHECK_H_

// Compares what data-parallel ranks hold alike, bit by bit: a machine that computes or keeps wrong
// numbers shows there, before it shows in a loss.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/rank.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/step/engine.h"

namespace hetero {

// Of one rank, whose thread uses it.
class ReplicaCheck {
 public:
  // `stages` outlive the check. Every rank of the run calls it. Errors: those of the factory.
  static absl::StatusOr<std::unique_ptr<ReplicaCheck>> Create(
      std::span<const Engine::OwnStage> stages, GlobalRank rank, CommunicatorFactory& factory);

  // Compares weights and buffers of all stages after `step` steps, by their digests. Every rank of
  // the run calls it, when all weights are there (RankTrainer::AwaitWeights). Waits for the device.
  // Errors: DATA_LOSS with exit code 4, the same on all ranks that compare, naming the first tensor
  // that differs, its stage, on which ranks, and the step; those of the other ranks.
  absl::Status Compare(int64_t step, Stream& stream);

 private:
  // What the ranks of a group hold alike of a stage.
  struct Replicas {
    std::string stage;
    std::vector<const Parameter*> parameters;
    Group ranks;
    std::unique_ptr<Communicator> communicator;
    std::unique_ptr<Exchange> exchange;
  };

  std::vector<Replicas> replicas_;
};

// What is wrong with `digests`, by rank of `ranks` and by name of `names`; OK: nothing. Ranks that
// differ from most others are named apart; of as many on both sides, those without the first rank.
absl::Status JudgeReplicas(int64_t step, std::string_view stage, std::span<const std::string> names,
                           const Group& ranks, std::span<const std::vector<uint64_t>> digests);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPLICA_CHECK_H_
