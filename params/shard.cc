#include "hetero/params/shard.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

// A run of entries of one dim that a rank holds, and which of how many holders it is.
struct Interval {
  int64_t logical_begin;
  int64_t local_begin;
  int64_t extent;
  int64_t replica;
  int64_t replicas;
};

// One dim, ready to be cut.
struct Cut {
  std::vector<DimSharding::Block> blocks;  // of one unit
  int64_t units;
  int64_t tile;

  // How many shards of `size` have the entries of one unit between them.
  int64_t SharersOfUnit(int64_t size) const { return std::max<int64_t>(size / units, 1); }

  // The number of the first block that does not divide, blocks.size() when the units do not;
  // nullopt when an axis of `size` can divide the dim.
  std::optional<size_t> Indivisible(int64_t size) const {
    if (size <= units ? units % size != 0 : size % units != 0) return blocks.size();
    if (tile > 0) return std::nullopt;
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (!blocks[i].whole && blocks[i].size % SharersOfUnit(size) != 0) return i;
    }
    return std::nullopt;
  }

  // Precondition: `size` shards cannot divide the dim; one always can.
  int64_t NearestSize(int64_t size) const {
    for (int64_t distance = 1;; ++distance) {
      if (size > distance && !Indivisible(size - distance)) return size - distance;
      if (!Indivisible(size + distance)) return size + distance;
    }
  }
};

absl::StatusOr<Cut> CutOf(const ParameterSpec& spec, size_t d, const DimSharding& dim) {
  Cut cut{dim.blocks, dim.units, dim.tile};
  if (cut.blocks.empty() && dim.units > 0) cut.blocks = {{spec.shape[d] / dim.units}};
  int64_t unit_size = 0;
  for (const DimSharding::Block& block : cut.blocks) unit_size += block.size;
  if (unit_size * dim.units == spec.shape[d]) return cut;
  return absl::InternalError(absl::StrCat(spec.name, " dim ", d, " is ", spec.shape[d], " but ",
                                          dim.units, " times its blocks of ", unit_size));
}

// The pieces of one dim that a rank holds.
absl::StatusOr<std::vector<Interval>> CutDim(const ParameterSpec& spec, size_t d,
                                             const DimSharding& dim, const ShardSpec::Axis& axis) {
  HETERO_ASSIGN_OR_RETURN(const Cut cut, CutOf(spec, d, dim));
  if (const std::optional<size_t> block = cut.Indivisible(axis.size)) {
    const bool of_units = *block == cut.blocks.size();
    return absl::InvalidArgumentError(absl::StrCat(
        spec.name, " dim ", d,
        of_units ? absl::StrCat(" has ", cut.units, " units")
                 : absl::StrCat(" block ", *block, " has ", cut.blocks[*block].size, " entries"),
        " for ", of_units ? axis.size : cut.SharersOfUnit(axis.size), " shards of ",
        ShardAxisName(dim.axis), " ", axis.size, "; nearest: ", ShardAxisName(dim.axis), " ",
        cut.NearestSize(axis.size)));
  }
  const int64_t sharers = cut.SharersOfUnit(axis.size);
  const int64_t unit_size = spec.shape[d] / cut.units;
  if (sharers == 1) {
    const int64_t extent = spec.shape[d] / axis.size;
    return std::vector<Interval>{{axis.rank * extent, 0, extent, 0, 1}};
  }
  const int64_t slice = axis.rank % sharers;
  const int64_t tile = std::max<int64_t>(cut.tile, 1);
  std::vector<Interval> pieces;
  int64_t logical = axis.rank / sharers * unit_size;
  int64_t local = 0;
  for (const DimSharding::Block& block : cut.blocks) {
    const int64_t share = block.whole ? block.size : CeilDiv(block.size, sharers * tile) * tile;
    const int64_t begin = block.whole ? 0 : std::min(slice * share, block.size);
    const int64_t extent = std::min(share, block.size - begin);
    pieces.push_back(
        {logical + begin, local, extent, block.whole ? slice : 0, block.whole ? sharers : 1});
    logical += block.size;
    local += extent;
  }
  return pieces;
}

// All ranks of the parameter's axes that divide none of its dims hold the same.
ShardBox Replicated(const ParameterSpec& spec, const ShardSpec& shard) {
  ShardBox box;
  const auto add = [&](ShardAxis which) {
    for (const DimSharding& dim : spec.dims) {
      if (dim.axis == which) return;
    }
    const ShardSpec::Axis axis = shard.axis(which);
    box.replica += axis.rank * box.replicas;
    box.replicas *= axis.size;
  };
  if (spec.gradient_group == GradientGroup::kDense) {
    add(ShardAxis::kTp);
  } else {
    add(ShardAxis::kExptTp);
    add(ShardAxis::kEp);
  }
  return box;
}

}  // namespace

absl::StatusOr<Shard> ShardOf(const ParameterSpec& spec, const ShardSpec& shard) {
  const DimSharding undivided;
  Shard result;
  result.boxes.push_back(Replicated(spec, shard));
  for (size_t d = 0; d < spec.shape.size(); ++d) {
    const DimSharding& dim = spec.dims.empty() ? undivided : spec.dims[d];
    HETERO_ASSIGN_OR_RETURN(const std::vector<Interval> pieces,
                            CutDim(spec, d, dim, shard.axis(dim.axis)));
    std::vector<ShardBox> boxes;
    for (const ShardBox& box : result.boxes) {
      for (const Interval& piece : pieces) {
        ShardBox extended = box;
        extended.logical_begin.push_back(piece.logical_begin);
        extended.local_begin.push_back(piece.local_begin);
        extended.extent.push_back(piece.extent);
        extended.replica += piece.replica * box.replicas;
        extended.replicas *= piece.replicas;
        boxes.push_back(std::move(extended));
      }
    }
    result.boxes = std::move(boxes);
    result.shape.push_back(pieces.back().local_begin + pieces.back().extent);
  }
  return result;
}

}  // namespace hetero
