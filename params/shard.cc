#include "hetero/params/shard.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

struct Interval {
  int64_t logical_begin;
  int64_t local_begin;
  int64_t extent;
};

int64_t NearestDivisor(int64_t number, int64_t wanted) {
  for (int64_t distance = 1;; ++distance) {
    if (wanted > distance && number % (wanted - distance) == 0) return wanted - distance;
    if (wanted + distance <= number && number % (wanted + distance) == 0) return wanted + distance;
  }
}

// The pieces of one dim that a rank holds.
absl::StatusOr<std::vector<Interval>> CutDim(const ParameterSpec& spec, size_t d,
                                             const ShardSpec& shard) {
  const DimSharding whole;
  const DimSharding& dim = spec.dims.empty() ? whole : spec.dims[d];
  const std::vector<int64_t> blocks =
      dim.blocks.empty() ? std::vector<int64_t>{spec.shape[d]} : dim.blocks;
  const ShardSpec::Axis axis = shard.axis(dim.axis);
  std::vector<Interval> pieces;
  int64_t logical = 0;
  int64_t local = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (dim.tile == 0 && blocks[i] % axis.size != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          spec.name, " dim ", d, " block ", i, " has ", blocks[i], " entries for ", axis.size,
          " shards; the nearest count that divides is ", NearestDivisor(blocks[i], axis.size)));
    }
    const int64_t tile = std::max<int64_t>(dim.tile, 1);
    const int64_t share = CeilDiv(blocks[i], axis.size * tile) * tile;
    const int64_t begin = std::min(axis.rank * share, blocks[i]);
    const int64_t extent = std::min(share, blocks[i] - begin);
    pieces.push_back({logical + begin, local, extent});
    logical += blocks[i];
    local += extent;
  }
  if (logical != spec.shape[d]) {
    return absl::InternalError(absl::StrCat(spec.name, " dim ", d, " is ", spec.shape[d],
                                            " but its blocks sum to ", logical));
  }
  return pieces;
}

}  // namespace

absl::StatusOr<Shard> ShardOf(const ParameterSpec& spec, const ShardSpec& shard) {
  Shard result;
  result.boxes.push_back({});
  for (size_t d = 0; d < spec.shape.size(); ++d) {
    HETERO_ASSIGN_OR_RETURN(const std::vector<Interval> pieces, CutDim(spec, d, shard));
    std::vector<ShardBox> boxes;
    for (const ShardBox& box : result.boxes) {
      for (const Interval& piece : pieces) {
        ShardBox extended = box;
        extended.logical_begin.push_back(piece.logical_begin);
        extended.local_begin.push_back(piece.local_begin);
        extended.extent.push_back(piece.extent);
        boxes.push_back(std::move(extended));
      }
    }
    result.boxes = std::move(boxes);
    result.shape.push_back(pieces.back().local_begin + pieces.back().extent);
  }
  return result;
}

}  // namespace hetero
