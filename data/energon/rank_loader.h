#ifndef HETERO_DATA_ENERGON_RANK_LOADER_H_
#define HETERO_DATA_ENERGON_RANK_LOADER_H_

// The batches that Megatron-Energon's loader gives a rank, as references to samples.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/energon/worker_stream.h"

namespace hetero::data {

// Its workers give a batch each in turn; those whose round has ended are passed over, and a round
// begins with the first of them.
class RankLoader {
 public:
  // Precondition: 0 <= rank < shape.num_ranks.
  RankLoader(const std::shared_ptr<const LoaderPlan>& plan, int64_t rank);

  // Goes on where the workers of `records` stood, whose rank and number of workers may have been
  // others: `records` are all that Save() gave on the ranks of that time, rank after rank.
  // Precondition: as the constructor's. Errors: those of ParseWorkerRecord, with the worker;
  // INVALID_ARGUMENT unless there is a record of each worker; FAILED_PRECONDITION where the workers
  // that are now of one rank do not stand as its turns leave them.
  static absl::StatusOr<RankLoader> Restore(const std::shared_ptr<const LoaderPlan>& plan,
                                            int64_t rank, std::span<const std::string> records);

  // The next batch of the round, which is a pass or a virtual epoch; empty at its end, after which
  // another begins.
  std::vector<SampleReference> Next();

  // A record of each worker; FormatWorkerRecord has what they hold.
  std::vector<std::string> Save() const;

 private:
  RankLoader(const std::shared_ptr<const LoaderPlan>& plan, int64_t rank,
             std::span<const WorkerState> states);

  std::shared_ptr<const LoaderPlan> plan_;
  int64_t first_worker_;
  std::vector<WorkerStream> workers_;
  size_t turn_ = 0;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_RANK_LOADER_H_
