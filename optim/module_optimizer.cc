#include "hetero/optim/module_optimizer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/optim/parameter_group.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

// Data-parallel ranks of a gradient group.
Family FamilyOf(GradientGroup group) {
  return group == GradientGroup::kDense ? Family::kDpCp : Family::kExptDp;
}

}  // namespace

StoreSharing SharingOf(const Grid& grid, GlobalRank rank, const BucketOptions& buckets) {
  const auto ranks = [&](GradientGroup group) {
    return std::ssize(*grid.GroupOf(FamilyOf(group), rank));
  };
  return {.dense_ranks = ranks(GradientGroup::kDense),
          .expert_ranks = ranks(GradientGroup::kExpert),
          .buckets = buckets};
}

absl::StatusOr<std::unique_ptr<ModuleOptimizer>> ModuleOptimizer::Create(
    const ModuleOptimizerOptions& options, ParameterStore& store, const Grid& grid, GlobalRank rank,
    Device device, MemoryLedger& ledger) {
  auto optimizer =
      std::unique_ptr<ModuleOptimizer>(new ModuleOptimizer(options, store, grid.name()));
  for (const FlatGroup& group : store.groups()) {
    const Group sharing = *grid.GroupOf(FamilyOf(group.gradient_group), rank);
    CHECK_EQ(group.buckets.shares(), std::ssize(sharing));
    const DType dtype = group.gradients.dtype();
    const int64_t count = group.buckets.own_length();
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
    optimizer->AddPieces(group, RankIn(sharing, rank)->value());
  }
  return optimizer;
}

void ModuleOptimizer::AddPieces(const FlatGroup& group, int64_t share) {
  std::vector<Piece>& pieces = pieces_.emplace_back();
  std::vector<StatisticsRange>& statistics = statistics_.emplace_back();
  std::vector<StatisticsRange>& of_masters = master_statistics_.emplace_back();
  for (size_t b = 0; b < group.buckets.buckets().size(); ++b) {
    const BucketPlan::Bucket& bucket = group.buckets.buckets()[b];
    const ElementRange own = group.buckets.Own(b, share);
    Piece piece{.flat = own, .own = {group.buckets.OwnBegin(b), own.count}};
    // The last segment comes first in the buffer.
    for (size_t i = bucket.first + bucket.num_parameters; i-- > bucket.first;) {
      const FlatSegment& segment = group.segments[i];
      const ElementRange part = Intersect(own, segment.range);
      if (part.count == 0) continue;
      // Neighbours of one group are one segment, with the zeros between them, which stay zero.
      const double scale = GroupOf(*segment.parameter->spec).weight_decay_scale();
      const int64_t begin = part.begin - own.begin;
      if (piece.segments.empty() || piece.segments.back().weight_decay != scale) {
        piece.segments.push_back({begin, part.count, scale});
      } else {
        piece.segments.back().count = begin + part.count - piece.segments.back().begin;
      }
      const auto number =
          static_cast<int64_t>(segment.parameter->spec - store_.table().specs().data());
      for (const SharedRun& run : segment.runs) {
        const ElementRange counted = Intersect(part, {run.begin, run.count});
        if (run.owned() && counted.count > 0) {
          statistics.push_back({counted.begin, counted.count, number});
          of_masters.push_back(
              {piece.own.begin + counted.begin - own.begin, counted.count, number});
        }
      }
    }
    pieces.push_back(std::move(piece));
  }
}

absl::Status ModuleOptimizer::NumberParameters(std::span<const std::string> names) {
  absl::flat_hash_map<std::string_view, int64_t> number_of;
  for (const std::string& name : names) {
    number_of.emplace(name, static_cast<int64_t>(number_of.size()));
  }
  for (size_t i = 0; i < statistics_.size(); ++i) {
    for (size_t k = 0; k < statistics_[i].size(); ++k) {
      StatisticsRange& range = statistics_[i][k];
      const std::string& name = store_.table().specs()[range.parameter].name;
      const auto found = number_of.find(name);
      if (found == number_of.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("parameter ", name, " is not among those of module ", name_));
      }
      range.parameter = found->second;
      master_statistics_[i][k].parameter = found->second;
    }
  }
  return absl::OkStatus();
}

absl::Status ModuleOptimizer::LoadMasters(Stream& stream) {
  for (size_t i = 0; i < moments_.size(); ++i) {
    if (moments_[i].master.is_null()) continue;
    for (const Piece& piece : pieces_[i]) {
      HETERO_RETURN_IF_ERROR(
          Copy(store_.groups()[i].values.Rows(piece.flat.begin, piece.flat.count),
               moments_[i].master.Rows(piece.own.begin, piece.own.count), stream));
    }
  }
  return absl::OkStatus();
}

absl::Status ModuleOptimizer::AddStatistics(TensorView totals_2, TensorView non_finite_P,
                                            Stream& stream) {
  for (size_t i = 0; i < moments_.size(); ++i) {
    HETERO_RETURN_IF_ERROR(GradientStatistics({.gradient_N = store_.groups()[i].gradients,
                                               .ranges = statistics_[i],
                                               .totals_2 = totals_2,
                                               .non_finite_P = non_finite_P},
                                              stream))
        .With(name_);
  }
  return absl::OkStatus();
}

absl::Status ModuleOptimizer::AddParameterStatistics(TensorView totals_2, TensorView non_finite_P,
                                                     Stream& stream) {
  for (size_t i = 0; i < moments_.size(); ++i) {
    const bool has_master = !moments_[i].master.is_null();
    HETERO_RETURN_IF_ERROR(
        GradientStatistics(
            {.gradient_N = has_master ? moments_[i].master : store_.groups()[i].values,
             .ranges = has_master ? master_statistics_[i] : statistics_[i],
             .totals_2 = totals_2,
             .non_finite_P = non_finite_P},
            stream))
        .With(name_);
  }
  return absl::OkStatus();
}

absl::Status ModuleOptimizer::Apply(const AdamWUpdate& update, Stream& stream) {
  const auto step = static_cast<double>(update.step);
  const AdamWOptions& adamw = options_.adamw;
  const double decay = options_.WeightDecay(update.weight_decay);
  for (size_t i = 0; i < moments_.size(); ++i) {
    const FlatGroup& group = store_.groups()[i];
    const Moments& moments = moments_[i];
    const bool has_master = !moments.master.is_null();
    for (const Piece& piece : pieces_[i]) {
      const TensorView values = group.values.Rows(piece.flat.begin, piece.flat.count);
      const auto own = [&](const TensorView& state) {
        return state.Rows(piece.own.begin, piece.own.count);
      };
      segments_.assign(piece.segments.begin(), piece.segments.end());
      for (AdamWSegment& segment : segments_) segment.weight_decay *= decay;
      HETERO_RETURN_IF_ERROR(
          AdamW({.parameter_N = has_master ? own(moments.master) : values,
                 .gradient_N = group.gradients.Rows(piece.flat.begin, piece.flat.count),
                 .first_moment_N = own(moments.first),
                 .second_moment_N = own(moments.second),
                 .rounded_N = has_master ? values : TensorView(),
                 .segments = segments_,
                 .beta1 = adamw.beta1,
                 .beta2 = adamw.beta2,
                 .epsilon = adamw.epsilon,
                 .learning_rate = options_.LearningRate(update.learning_rate),
                 .first_correction = 1 / (1 - std::pow(adamw.beta1, step)),
                 .second_correction = 1 / (1 - std::pow(adamw.beta2, step)),
                 .decisions = update.decisions},
                stream))
          .With(name_);
    }
  }
  return absl::OkStatus();
}

std::vector<StateTensor> ModuleOptimizer::States() const {
  std::vector<StateTensor> states;
  for (size_t i = 0; i < moments_.size(); ++i) {
    const FlatGroup& group = store_.groups()[i];
    const Moments& moments = moments_[i];
    for (const Piece& piece : pieces_[i]) {
      for (const FlatSegment& segment : group.segments) {
        const ElementRange part = Intersect(piece.flat, segment.range);
        if (part.count == 0) continue;
        const ParameterSpec& spec = *segment.parameter->spec;
        const auto add = [&](std::string_view kind, const TensorView& flat, int64_t begin) {
          std::vector<StateTensor> of_part = FlatStates(
              absl::StrCat(kind, ".", spec.name), spec, *segment.shard,
              {part.begin - segment.range.begin, part.count}, flat.Rows(begin, part.count));
          std::ranges::move(of_part, std::back_inserter(states));
        };
        const int64_t own_begin = piece.own.begin + part.begin - piece.flat.begin;
        const bool has_master = !moments.master.is_null();
        add("param", has_master ? moments.master : group.values,
            has_master ? own_begin : part.begin);
        add("exp_avg", moments.first, own_begin);
        add("exp_avg_sq", moments.second, own_begin);
      }
    }
  }
  return states;
}

}  // namespace hetero
