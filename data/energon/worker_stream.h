#ifndef HETERO_DATA_ENERGON_WORKER_STREAM_H_
#define HETERO_DATA_ENERGON_WORKER_STREAM_H_

// The batches of one worker of a loader, as references to samples.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/energon/blend.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/repeated_loader.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/energon/shuffle_buffer.h"

namespace hetero::data {

// A round is a pass, or a virtual epoch.
struct RoundProgress {
  int64_t num_rounds = 0;       // before this one
  int64_t num_batches = 0;      // of this one, given
  bool has_pass_ended = false;  // its samples, that is; a last batch may just have been given
  bool has_ended = false;       // and Next() has said so

  bool operator==(const RoundProgress&) const = default;
};

struct WorkerState {
  std::vector<RepeatedLoaderState> loaders;  // by data set; empty before the first batch
  BlendState blend;
  ShuffleBufferState shuffle;
  RoundProgress round;

  bool operator==(const WorkerState&) const = default;
};

class WorkerStream {
 public:
  // worker: among those of all ranks. Precondition: Check(*plan, worker, state) is OK.
  WorkerStream(std::shared_ptr<const LoaderPlan> plan, int64_t worker,
               const WorkerState& state = {});

  // Whether that worker can have been in that state; anything else is DATA_LOSS.
  static absl::Status Check(const LoaderPlan& plan, int64_t worker, const WorkerState& state);

  // The next batch of the round; empty at its end, until BeginRound.
  std::vector<SampleReference> Next();
  void BeginRound();

  const RoundProgress& round() const { return round_; }
  WorkerState state() const;

 private:
  std::optional<SampleReference> NextSample();

  std::shared_ptr<const LoaderPlan> plan_;
  std::optional<int64_t> batches_of_epoch_;
  Blend blend_;
  ShuffleBuffer shuffle_;
  RoundProgress round_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_WORKER_STREAM_H_
