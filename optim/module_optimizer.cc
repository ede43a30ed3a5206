#include "hetero/optim/module_optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

// Neighbours of equal decay become one segment, the zeros between them included: those stay zero.
std::vector<AdamWSegment> Segments(const FlatGroup& group, double weight_decay) {
  std::vector<AdamWSegment> segments;
  for (const FlatSegment& segment : group.segments) {
    const double decay = segment.spec->decay ? weight_decay : 0;
    if (segments.empty() || segments.back().weight_decay != decay) {
      segments.push_back({segment.begin, segment.count, decay});
    } else {
      segments.back().count = segment.begin + segment.count - segments.back().begin;
    }
  }
  return segments;
}

}  // namespace

std::vector<StatisticsPiece> StatisticsPieces(std::span<const FlatGroup> groups, const Grid& grid,
                                              GlobalRank rank) {
  std::vector<StatisticsPiece> pieces;
  for (size_t i = 0; i < groups.size(); ++i) {
    const FlatGroup& group = groups[i];
    const bool dense = group.gradient_group == GradientGroup::kDense;
    const Group sharing = *grid.GroupOf(dense ? Family::kDpCp : Family::kExptDp, rank);
    const auto shares = static_cast<int64_t>(sharing.size());
    const int64_t share = RankIn(sharing, rank)->value();
    const int64_t length = group.gradients.dim(0);
    const int64_t first = length * share / shares;
    const int64_t last = length * (share + 1) / shares;
    for (const FlatSegment& segment : group.segments) {
      for (const SharedRun& run : segment.runs) {
        const int64_t begin = std::max(first, run.begin);
        const int64_t end = std::min(last, run.begin + run.count);
        if (begin < end && run.owned()) pieces.push_back({i, begin, end - begin});
      }
    }
  }
  return pieces;
}

absl::StatusOr<std::unique_ptr<ModuleOptimizer>> ModuleOptimizer::Create(
    const AdamWOptions& options, ParameterStore& store, const Grid& grid, GlobalRank rank,
    Device device, MemoryLedger& ledger) {
  auto optimizer =
      std::unique_ptr<ModuleOptimizer>(new ModuleOptimizer(options, store, grid.name()));
  for (const FlatGroup& group : store.groups()) {
    const DType dtype = group.gradients.dtype();
    const int64_t count = group.gradients.dim(0);
    Moments moments;
    std::vector<TensorView*> views = {&moments.first, &moments.second};
    if (group.storage != dtype) views.push_back(&moments.master);
    for (TensorView* view : views) {
      HETERO_ASSIGN_OR_RETURN(Buffer buffer, Buffer::Allocate(device, MemoryLabel::kOptimizer,
                                                              count * SizeOf(dtype), ledger));
      *view = buffer.View(dtype, {count});
      optimizer->buffers_.push_back(std::move(buffer));
    }
    optimizer->moments_.push_back(moments);
    optimizer->segments_.push_back(Segments(group, options.weight_decay));
  }
  optimizer->pieces_ = StatisticsPieces(store.groups(), grid, rank);
  return optimizer;
}

absl::Status ModuleOptimizer::LoadMasters(Stream& stream) {
  for (size_t i = 0; i < moments_.size(); ++i) {
    if (moments_[i].master.is_null()) continue;
    HETERO_RETURN_IF_ERROR(Copy(store_.groups()[i].values, moments_[i].master, stream));
  }
  return absl::OkStatus();
}

absl::Status ModuleOptimizer::AddStatistics(TensorView totals, Stream& stream) {
  for (const StatisticsPiece& piece : pieces_) {
    HETERO_RETURN_IF_ERROR(
        SumOfSquares(store_.groups()[piece.group].gradients.Rows(piece.begin, piece.count), totals,
                     /*accumulate=*/true, stream));
  }
  return absl::OkStatus();
}

absl::Status ModuleOptimizer::Apply(const AdamWUpdate& update, Stream& stream) {
  const auto step = static_cast<double>(update.step);
  for (size_t i = 0; i < moments_.size(); ++i) {
    const FlatGroup& group = store_.groups()[i];
    const Moments& moments = moments_[i];
    const bool has_master = !moments.master.is_null();
    HETERO_RETURN_IF_ERROR(AdamW({.parameter_N = has_master ? moments.master : group.values,
                                  .gradient_N = group.gradients,
                                  .first_moment_N = moments.first,
                                  .second_moment_N = moments.second,
                                  .rounded_N = has_master ? group.values : TensorView(),
                                  .segments = segments_[i],
                                  .beta1 = options_.beta1,
                                  .beta2 = options_.beta2,
                                  .epsilon = options_.epsilon,
                                  .learning_rate = update.learning_rate,
                                  .first_correction = 1 / (1 - std::pow(options_.beta1, step)),
                                  .second_correction = 1 / (1 - std::pow(options_.beta2, step)),
                                  .decisions = update.decisions},
                                 stream))
        .With(name_);
  }
  return absl::OkStatus();
}

}  // namespace hetero
