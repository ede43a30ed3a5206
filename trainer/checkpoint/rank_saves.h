#ifndef HETERO_TRAINER_CHECKPOINT_RANK_SAVES_H_
#define HETERO_TRAINER_CHECKPOINT_RANK_SAVES_H_

// The saves of one rank of a run: begun between two steps, written and read back beside those that
// follow, and published between two steps.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/publish/best.h"
#include "hetero/ckpt/save.h"
#include "hetero/grid/rank.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/checkpoint/read_back.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/checkpoint/save_settings.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {

// What became of a save; the same on all ranks.
struct SaveOutcome {
  int64_t iteration = 0;
  absl::Status status;              // not OK: it was not published
  bool given_up = false;            // not OK because the run has to end
  std::filesystem::path directory;  // of the checkpoint
  int64_t bytes = 0;                // of all ranks
  absl::Duration took;              // from the begin until it was published
  std::vector<std::string> warnings;
};

// "saved iteration 200: 16.2 MiB in 0.08 s, runs/x/checkpoints/iter_0000200", and what there is to
// be warned of, a line each.
std::string ToString(const SaveOutcome& outcome);

// All ranks call the same in the same order. A save that fails is told in its outcome and ends
// nothing: what is returned is that ranks no longer hear each other.
class RankSaves {
 public:
  // All arguments outlive it. Memory for the first save, SaveMemoryBytes of SaveOptionsOf, is made
  // ready beside the first steps; it counts in the ledger of `trainer`.
  // Precondition: checkpoints.settings.has_save(). Errors: those of StateOfRank and Saver::Prepare.
  static absl::StatusOr<std::unique_ptr<RankSaves>> Create(RunCheckpoints& checkpoints,
                                                           const Model& model, GlobalRank rank,
                                                           RankTrainer& trainer,
                                                           Exchange& exchange);

  // Whether a checkpoint after `iteration` steps is due by its number, the same on all ranks, and
  // whether one is by this rank's clock.
  bool IsDueBySteps(int64_t iteration) const;
  bool IsDueByTime() const;

  // Whether Advance would wait for this rank.
  bool IsBusy() const;

  // Takes the save in flight, when none of the ranks is busy, a step further: what was written is
  // read back beside the next steps, what was read back is published.
  void Advance();

  // Starts to save what there is after `state.iteration` steps. One that is in flight is awaited
  // first.
  void Begin(const RunState& state);

  // The state may change when this has returned. Not collective.
  void AwaitCopied() { saver_.AwaitCopied(); }

  // From now on saves have so long: those that would take longer, by how long the last one took to
  // write, are given up, the one that is written now at once. The first rank's clock holds.
  void EndWithin(absl::Duration grace);

  // Waits until the save in flight, if any, is published.
  void Land();

  // An evaluation after the last step that was saved, or is to be, found `loss`. Whether that is
  // better than all before; then its checkpoint is to stay.
  bool IsBest(int64_t iteration, double loss);

  // Of the last save that has begun; -1 before.
  int64_t last_iteration() const { return last_iteration_; }
  int64_t failures_in_a_row() const { return failures_in_a_row_; }

  // Those that ended since the last call.
  std::vector<SaveOutcome> TakeOutcomes();

 private:
  RankSaves(RunCheckpoints& checkpoints, GlobalRank rank, RankTrainer& trainer, Exchange& exchange)
      : checkpoints_(checkpoints),
        rank_(rank),
        trainer_(trainer),
        exchange_(exchange),
        options_(SaveOptionsOf(checkpoints.settings.save(), trainer, rank)),
        saver_(checkpoints.storage, exchange, trainer.engine().ledger()) {}

  bool first() const { return exchange_.rank() == 0; }
  // DEADLINE_EXCEEDED, the same on all ranks, where the time of EndWithin is less.
  absl::Status CheckTimeFor(absl::Duration duration);
  absl::Status TryToBegin(const RunState& state);
  absl::StatusOr<std::filesystem::path> MakeStaging(int64_t iteration, std::string& save_id);
  absl::Status StartReadBack();
  absl::Status Publish();
  bool in_flight() const { return saver_.in_flight() || read_back_ != nullptr; }
  void EndFlight(const absl::Status& status);
  void End(SaveOutcome outcome);
  void KeepBest();

  RunCheckpoints& checkpoints_;
  const GlobalRank rank_;
  RankTrainer& trainer_;
  Exchange& exchange_;
  CheckpointState state_;
  int64_t planned_bytes_ = 0;  // of all ranks
  const SaveOptions options_;  // of every save
  Saver saver_;
  std::optional<Staging> staging_;       // of the first rank
  std::unique_ptr<ReadBack> read_back_;  // once all files are written
  SaveOutcome flying_;
  absl::Time began_;
  absl::Duration last_write_;  // of the slowest rank; zero before there was one
  std::optional<absl::Time> deadline_;
  int64_t num_saves_ = 0;
  int64_t last_iteration_ = -1;
  int64_t published_iteration_ = -1;
  std::filesystem::path published_directory_;
  int64_t failures_in_a_row_ = 0;
  std::optional<BestCheckpoint> best_;  // that of an earlier run first
  std::vector<SaveOutcome> outcomes_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_RANK_SAVES_H_
