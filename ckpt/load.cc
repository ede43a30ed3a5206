#include "hetero/ckpt/load.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/match.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/reader.h"
#include "hetero/ckpt/share_loaded.h"

namespace hetero {
namespace {

absl::StatusOr<CheckpointIndex> ReadIndex(Storage& storage, std::string_view directory,
                                          Exchange& exchange, bool foreign) {
  absl::StatusOr<std::string> own = std::string();
  if (exchange.rank() == 0) own = ReadIndexBytes(storage, directory, foreign);
  HETERO_RETURN_IF_ERROR(exchange.Agree(own.status(), "checkpoint.open"));
  HETERO_ASSIGN_OR_RETURN(const std::string bytes,
                          exchange.Broadcast(*own, 0, "checkpoint.manifest"));
  return ParseIndexBytes(bytes);
}

// The pieces of this rank that are wanted and stored, and how much of each is filled.
class Filling {
 public:
  Filling(const CheckpointState& state, const WorldPlan& plan, const MatchReport& match) {
    for (const CheckpointTensor& tensor : state.tensors) {
      if (!match.tensors.contains(tensor.key)) continue;
      const std::vector<WorldShard>& shards = plan.tensors.at(tensor.key).shards;
      for (const CheckpointTensor::Piece& piece : tensor.pieces) {
        const auto shard = std::ranges::lower_bound(shards, piece.box, {}, &WorldShard::box);
        pieces_.push_back({.key = tensor.key, .piece = &piece, .shard = &*shard});
      }
    }
  }

  std::vector<LoadedPiece>& pieces() { return pieces_; }

  std::vector<ReadRequest> Requests(const MatchReport& match, int64_t member) {
    std::vector<ReadRequest> requests;
    for (LoadedPiece& piece : pieces_) {
      if (piece.shard->owner != member) continue;
      const StoredMatch& stored = match.tensors.find(piece.key)->second;
      for (ReadTarget& target : TargetsOf(stored, piece.piece->box, piece.piece->local)) {
        requests.push_back({.target = std::move(target), .filled = &piece.filled});
      }
    }
    return requests;
  }

  // Every element of every piece was written, and none twice.
  absl::Status Check() const {
    for (const LoadedPiece& piece : pieces_) {
      const int64_t all = NumElements(piece.piece->box);
      if (piece.filled == all) continue;
      return absl::DataLossError(absl::StrCat(piece.key, " ", ToString(piece.piece->box), ": ",
                                              piece.filled, " elements were filled of ", all));
    }
    return absl::OkStatus();
  }

 private:
  std::vector<LoadedPiece> pieces_;
};

absl::Status ReadObjects(Storage& storage, std::string_view directory, const CheckpointIndex& index,
                         const MatchReport& match, CheckpointState& state) {
  for (CheckpointObject& object : state.objects) {
    const auto stored = match.objects.find(object.name);
    if (stored == match.objects.end()) continue;
    HETERO_ASSIGN_OR_RETURN(
        object.value, ReadStoredObject(storage, directory, index, object.name, *stored->second));
  }
  return absl::OkStatus();
}

int64_t WantedBytes(const WorldPlan& plan, const MatchReport& match) {
  int64_t bytes = 0;
  for (const auto& [key, stored] : match.tensors) {
    for (const WorldShard& shard : plan.tensors.find(key)->second.shards) bytes += shard.bytes;
  }
  return bytes;
}

}  // namespace

nlohmann::json LoadReport::ToJson() const {
  return {{"iteration", iteration},
          {"foreign", foreign},
          {"kept_initial_values", kept},
          {"not_requested", unused},
          {"cast", cast},
          {"tensors", tensors},
          {"bytes", bytes},
          {"seconds", absl::ToDoubleSeconds(took)}};
}

absl::StatusOr<LoadReport> Load(Storage& storage, std::string_view directory,
                                CheckpointState& state, Exchange& exchange,
                                const LoadOptions& options, Stream& stream, MemoryLedger& ledger) {
  const absl::Time start = absl::Now();
  HETERO_ASSIGN_OR_RETURN(CheckpointIndex index,
                          ReadIndex(storage, directory, exchange, options.foreign));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> descriptions,
                          exchange.AllGather(DescribeState(state), "checkpoint.request"));
  HETERO_ASSIGN_OR_RETURN(const WorldPlan plan, MakeWorldPlan(descriptions, Distribution::kLoad));
  MatchReport match = MatchRequest(index, plan, options);
  HETERO_RETURN_IF_ERROR(match.Refusal());

  Filling filling(state, plan, match);
  LoadReport report{.iteration = index.iteration,
                    .state = std::move(index.state),
                    .grids = std::move(index.grids),
                    .foreign = index.foreign(),
                    .kept = std::move(match.kept),
                    .unused = std::move(match.unused),
                    .cast = std::move(match.cast),
                    .tensors = std::ssize(match.tensors),
                    .bytes = WantedBytes(plan, match)};
  const auto read = [&]() -> absl::Status {
    HETERO_RETURN_IF_ERROR(stream.Synchronize());
    HETERO_ASSIGN_OR_RETURN(
        report.bytes_read,
        ReadTargets(storage, directory, index, filling.Requests(match, exchange.rank()),
                    options.num_readers, stream.device(), ledger));
    return ReadObjects(storage, directory, index, match, state);
  };
  HETERO_RETURN_IF_ERROR(exchange.Agree(read(), "checkpoint.read"));
  HETERO_RETURN_IF_ERROR(ShareLoaded(plan, match, filling.pieces(), exchange, stream));
  HETERO_RETURN_IF_ERROR(exchange.Agree(filling.Check(), "checkpoint.filled"));
  report.took = absl::Now() - start;
  return report;
}

}  // namespace hetero
