#include "hetero/tools/model_probe/probed_module.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/token_shard.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/trainer/step/shard_spec.h"

namespace hetero {

absl::StatusOr<ParameterStore*> ProbedModule::AddStage(const ParameterTable& table,
                                                       const ModulePlace& place, int stage,
                                                       int num_stages) {
  const ShardSpec shard =
      ShardSpecOf(place.grid, place.rank, {.stage = stage, .num_stages = num_stages});
  HETERO_ASSIGN_OR_RETURN(
      stores_.emplace_back(),
      ParameterStore::Create(table.Stage(stage), shard, place.device, place.ledger));
  return stores_.back().get();
}

absl::Status ProbedModule::CopyToTwin(Stream& stream) {
  return twin_ == nullptr ? absl::OkStatus() : Copy(with_twin_->value, twin_->value, stream);
}

absl::Status ProbedModule::AddGradientOfTwin(Stream& stream) {
  if (twin_ == nullptr) return absl::OkStatus();
  return Add(with_twin_->gradient, twin_->gradient, with_twin_->gradient, stream);
}

void ProbedModule::AddLayer(const TensorView& own_rows, int64_t num_tokens, const Grid& grid,
                            GlobalRank rank) {
  const TokenShard shard{
      .num_tokens = num_tokens, .size = grid.Size(Axis::kTp), .rank = grid.Coord(rank, Axis::kTp)};
  const int64_t width = own_rows.dim(1);
  CheckpointTensor layer{.key = absl::StrCat("layer.", layers_.size()),
                         .dtype = own_rows.dtype(),
                         .shape = {num_tokens, width}};
  if (shard.num_owned() > 0) {
    layer.pieces.push_back({.box = {{shard.begin(), 0}, {shard.num_owned(), width}},
                            .local = own_rows.Rows(0, shard.num_owned())});
  }
  layers_.push_back(std::move(layer));
}

void ProbedModule::AddLoss(double loss, bool tells) {
  loss_ = loss;
  CheckpointTensor output{.key = "loss", .dtype = DType::kF64};
  if (tells) {
    output.pieces.push_back({.local = TensorView(&loss_, DType::kF64, std::span<const int64_t>())});
  }
  AddOutput(std::move(output));
}

}  // namespace hetero
