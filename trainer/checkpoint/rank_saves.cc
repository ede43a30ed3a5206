#include "hetero/trainer/checkpoint/rank_saves.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/tensor/dtype.h"
#include "hetero/trainer/checkpoint/rank_state.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

// Of what was written this part is read back before it is published, another one each time.
constexpr int64_t kReadBackParts = 16;

// What this rank may have to write at most, without what a format puts around it.
int64_t MainBytes(const CheckpointState& state) {
  int64_t bytes = 0;
  for (const CheckpointTensor& tensor : state.tensors) {
    for (const CheckpointTensor::Piece& piece : tensor.pieces) {
      if (piece.main) bytes += NumElements(piece.box) * SizeOf(tensor.dtype);
    }
  }
  return bytes;
}

// For Megatron-LM: it asks a checkpoint which of its own layouts of optimizer state it has.
nlohmann::json CommonState(int64_t iteration) {
  return {{"checkpoint_version", 3.0},
          {"iteration", iteration},
          {"content_metadata",
           {{"distrib_optim_sharding_type", "fully_reshardable"},
            {"distrib_optim_fully_reshardable_mem_efficient", false},
            {"singleton_local_shards", false},
            {"chained_optim_avoid_prefix", true}}}};
}

}  // namespace

std::string ToString(const SaveOutcome& outcome) {
  std::string text =
      outcome.status.ok()
          ? absl::StrFormat("saved iteration %d: %.1f MiB in %.2f s, %s", outcome.iteration,
                            static_cast<double>(outcome.bytes) / (1 << 20),
                            absl::ToDoubleSeconds(outcome.took), outcome.directory.native())
          : absl::StrCat("iteration ", outcome.iteration,
                         outcome.given_up ? " is not saved: " : " could not be saved: ",
                         outcome.status.message());
  for (const std::string& warning : outcome.warnings) absl::StrAppend(&text, "\n", warning);
  return text;
}

absl::StatusOr<std::unique_ptr<RankSaves>> RankSaves::Create(RunCheckpoints& checkpoints,
                                                             const Model& model, GlobalRank rank,
                                                             RankTrainer& trainer,
                                                             Exchange& exchange) {
  std::unique_ptr<RankSaves> saves(new RankSaves(checkpoints, rank, trainer, exchange));
  HETERO_ASSIGN_OR_RETURN(
      saves->state_, StateOfRank(model, trainer, rank, SavedState(checkpoints.settings.save())));
  HETERO_ASSIGN_OR_RETURN(
      const std::vector<std::string> all,
      exchange.AllGather(absl::StrCat(MainBytes(saves->state_)), "checkpoint.planned_bytes"));
  for (const std::string& bytes : all) saves->planned_bytes_ += std::stoll(bytes);
  HETERO_RETURN_IF_ERROR(
      saves->saver_.Prepare(saves->state_, saves->options_, trainer.engine().stream().device()))
      .With("checkpoint.save");
  if (checkpoints.source.has_value() && !checkpoints.source->folder.empty() &&
      !checkpoints.settings.load().finetune()) {
    const absl::StatusOr<std::optional<BestCheckpoint>> earlier =
        ReadBest(checkpoints.storage, checkpoints.source->folder);
    if (earlier.ok()) saves->best_ = *earlier;
  }
  saves->began_ = absl::Now();
  return saves;
}

bool RankSaves::IsDueBySteps(int64_t iteration) const {
  const proto::SaveCheckpoints& save = checkpoints_.settings.save();
  return save.has_interval_steps() && iteration > 0 && iteration != last_iteration_ &&
         iteration % save.interval_steps() == 0;
}

bool RankSaves::IsDueByTime() const {
  const proto::SaveCheckpoints& save = checkpoints_.settings.save();
  return save.has_interval_minutes() &&
         absl::Now() - began_ >= absl::Minutes(save.interval_minutes());
}

absl::Status RankSaves::CheckTimeFor(absl::Duration duration) {
  if (!deadline_.has_value()) return absl::OkStatus();
  absl::Status in_time;
  const absl::Duration left = *deadline_ - absl::Now();
  if (first() && duration > left) {
    in_time = absl::DeadlineExceededError(
        absl::StrFormat("it takes %.2f s more, and of checkpoint.save.grace_seconds %.2f are left",
                        absl::ToDoubleSeconds(duration), absl::ToDoubleSeconds(left)));
  }
  return exchange_.Agree(in_time, "checkpoint.in_time");
}

void RankSaves::EndWithin(absl::Duration grace) {
  deadline_ = absl::Now() + grace;
  if (!saver_.in_flight()) return;
  const absl::Status in_time = CheckTimeFor(last_write_ - (absl::Now() - began_));
  if (in_time.ok()) return;
  saver_.Cancel(in_time);
  flying_.given_up = true;
  EndFlight(saver_.Finish().status());
}

void RankSaves::Begin(const RunState& state) {
  Land();
  began_ = absl::Now();
  last_iteration_ = state.iteration;
  flying_ = {.iteration = state.iteration};
  if (const absl::Status in_time = CheckTimeFor(last_write_); !in_time.ok()) {
    flying_.status = in_time;
    flying_.given_up = true;
    return End(std::move(flying_));
  }
  if (const absl::Status begun = TryToBegin(state); !begun.ok()) {
    staging_.reset();
    flying_.status = begun;
    End(std::move(flying_));
  }
  if (checkpoints_.settings.save().synchronous()) Land();
}

// The folder is made by the first rank and told to the others.
absl::StatusOr<std::filesystem::path> RankSaves::MakeStaging(int64_t iteration,
                                                             std::string& save_id) {
  absl::Status made;
  std::string text;
  if (first()) {
    absl::StatusOr<Staging> staging = checkpoints_.publisher->Begin(iteration, planned_bytes_);
    made = staging.status();
    if (made.ok()) {
      staging_.emplace(*std::move(staging));
      text = absl::StrCat(staging_->save_id(), "\n", staging_->path().native());
    }
  }
  HETERO_RETURN_IF_ERROR(exchange_.Agree(made, "checkpoint.staging"));
  HETERO_ASSIGN_OR_RETURN(text, exchange_.Broadcast(text, 0, "checkpoint.folder"));
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('\n', 1));
  save_id = parts.first;
  return std::filesystem::path(parts.second);
}

absl::Status RankSaves::TryToBegin(const RunState& state) {
  if (!checkpoints_.settings.save().skip_optimizer())
    state_.objects = ObjectsOfRank(trainer_, rank_);
  // Groups of all modules have done the same updates, or one of them would go on wrongly.
  SaveOptions options = options_;
  options.iteration = state.iteration;
  options.agreed = absl::StrCat("after ", state.progress.applied_steps, " updates");
  options.previous = published_directory_.native();
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path path,
                          MakeStaging(state.iteration, options.save_id));
  if (first()) {
    options.grids = checkpoints_.grids;
    options.state = ToJson(state, checkpoints_.identity);
    options.common = CommonState(state.iteration);
  }
  HETERO_RETURN_IF_ERROR(exchange_.Agree(trainer_.AwaitWeights(), "checkpoint.weights"));
  return saver_.Begin(path.native(), state_, options, trainer_.engine().stream());
}

bool RankSaves::IsBusy() const {
  return !saver_.IsWritten() || (read_back_ != nullptr && !read_back_->IsDone());
}

void RankSaves::Advance() {
  if (saver_.in_flight()) {
    if (const absl::Status started = StartReadBack(); !started.ok()) EndFlight(started);
  } else if (read_back_ != nullptr) {
    EndFlight(Publish());
  }
}

void RankSaves::Land() {
  while (in_flight()) Advance();
}

absl::Status RankSaves::StartReadBack() {
  HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver_.Finish());
  flying_.bytes = report.total_bytes;
  const int64_t nanoseconds = absl::ToInt64Nanoseconds(report.planned + report.written);
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          exchange_.AllGather(absl::StrCat(nanoseconds), "checkpoint.write_times"));
  last_write_ = absl::ZeroDuration();
  for (const std::string& text : all) {
    last_write_ = std::max(last_write_, absl::Nanoseconds(std::stoll(text)));
  }
  // Ranks look at what others wrote: a file's chunks go round.
  const int64_t parts = checkpoints_.settings.save().verify_all() ? 1 : kReadBackParts;
  const int64_t part =
      (num_saves_ % parts) * exchange_.size() + (exchange_.rank() + 1) % exchange_.size();
  HETERO_ASSIGN_OR_RETURN(
      const std::string path,
      exchange_.Broadcast(first() ? staging_->path().native() : "", 0, "checkpoint.read_back"));
  absl::StatusOr<std::unique_ptr<ReadBack>> read_back =
      ReadBack::Start(checkpoints_.storage, path, part, parts * exchange_.size());
  HETERO_RETURN_IF_ERROR(exchange_.Agree(read_back.status(), "checkpoint.reads_back"));
  read_back_ = *std::move(read_back);
  return absl::OkStatus();
}

absl::Status RankSaves::Publish() {
  HETERO_RETURN_IF_ERROR(exchange_.Agree(read_back_->Join(), "checkpoint.intact"));
  absl::Status published;
  nlohmann::json told = nlohmann::json::object();
  if (first()) {
    absl::StatusOr<PublishReport> report = checkpoints_.publisher->Publish(*std::move(staging_));
    published = report.status();
    if (report.ok()) {
      told = {{"directory", report->directory.native()}, {"warnings", report->warnings}};
    }
  }
  HETERO_RETURN_IF_ERROR(exchange_.Agree(published, "checkpoint.published"));
  HETERO_ASSIGN_OR_RETURN(const std::string text,
                          exchange_.Broadcast(told.dump(), 0, "checkpoint.report"));
  told = nlohmann::json::parse(text);
  flying_.directory = told["directory"].get<std::string>();
  flying_.warnings = told["warnings"].get<std::vector<std::string>>();
  published_iteration_ = flying_.iteration;
  published_directory_ = flying_.directory;
  KeepBest();
  return absl::OkStatus();
}

void RankSaves::EndFlight(const absl::Status& status) {
  read_back_.reset();
  staging_.reset();
  flying_.status = status;
  flying_.took = absl::Now() - began_;
  End(std::move(flying_));
}

void RankSaves::End(SaveOutcome outcome) {
  ++num_saves_;
  if (!outcome.given_up) failures_in_a_row_ = outcome.status.ok() ? 0 : failures_in_a_row_ + 1;
  outcomes_.push_back(std::move(outcome));
}

bool RankSaves::IsBest(int64_t iteration, double loss) {
  if (!checkpoints_.settings.save().keep_best() || !std::isfinite(loss)) return false;
  if (best_.has_value() && best_->loss <= loss) return false;
  best_ = {.iteration = iteration, .loss = loss};
  KeepBest();
  return true;
}

void RankSaves::KeepBest() {
  if (!first() || !best_.has_value() || best_->iteration != published_iteration_) return;
  if (checkpoints_.publisher->best() == best_) return;
  if (const absl::Status kept = checkpoints_.publisher->KeepBest(*best_); !kept.ok()) {
    LOG(WARNING) << "best.json cannot be written: " << kept.message();
  }
}

std::vector<SaveOutcome> RankSaves::TakeOutcomes() { return std::exchange(outcomes_, {}); }

}  // namespace hetero
