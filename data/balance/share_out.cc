#include "hetero/data/balance/share_out.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace hetero::data {
namespace {

// Of the two aims the end of the step is the greater: with more the lanes are no nearer to each
// other within microbatches, with none they are as far apart there as without any sharing.
constexpr double kWeightOfMicrobatch = 0.25;

// Of a lane in a microbatch.
struct Place {
  double work = 0;
  LaneRoom left;
};

class Sharing {
 public:
  Sharing(std::span<const LaneItem> items, int64_t num_lanes, int64_t num_microbatches,
          LaneRoom room)
      : items_(items),
        num_lanes_(static_cast<size_t>(num_lanes)),
        places_(static_cast<size_t>(num_microbatches) * num_lanes_, Place{.left = room}) {
    shares_.lanes.resize(items.size());
    shares_.work.resize(num_lanes_);
  }

  // The first microbatch with an item that finds no room; nothing where all items have a lane.
  // Microbatches in `kept` keep the lanes of their samples.
  std::optional<int64_t> Run(std::span<const size_t> order, const std::vector<bool>& kept) {
    for (const size_t i : order) {
      if (kept[MicrobatchOf(i)]) Give(i, static_cast<size_t>(items_[i].lane));
    }
    for (const size_t i : order) {
      if (kept[MicrobatchOf(i)]) continue;
      const size_t lane = LeastBusy(i);
      if (lane == num_lanes_) return items_[i].microbatch;
      Give(i, lane);
    }
    return std::nullopt;
  }

  LaneShares Take() && { return std::move(shares_); }

 private:
  size_t MicrobatchOf(size_t i) const { return static_cast<size_t>(items_[i].microbatch); }
  Place* PlacesOf(size_t i) { return &places_[MicrobatchOf(i) * num_lanes_]; }

  // Of those with room for item `i`; num_lanes_ without one.
  size_t LeastBusy(size_t i) {
    const LaneItem& item = items_[i];
    const Place* const places = PlacesOf(i);
    size_t best = num_lanes_;
    double least = 0;
    for (size_t lane = 0; lane < num_lanes_; ++lane) {
      const Place& place = places[lane];
      const double busy = shares_.work[lane] + kWeightOfMicrobatch * place.work;
      if (best < num_lanes_ && busy >= least) continue;
      if (place.left.num_items < 1 || place.left.num_tokens < item.num_tokens ||
          place.left.num_features < item.num_features) {
        continue;
      }
      best = lane;
      least = busy;
    }
    return best;
  }

  void Give(size_t i, size_t lane) {
    const LaneItem& item = items_[i];
    Place& place = PlacesOf(i)[lane];
    place.work += item.cost;
    place.left.num_features -= item.num_features;
    place.left.num_tokens -= item.num_tokens;
    --place.left.num_items;
    shares_.work[lane] += item.cost;
    shares_.lanes[i] = static_cast<int64_t>(lane);
  }

  const std::span<const LaneItem> items_;
  const size_t num_lanes_;
  std::vector<Place> places_;  // by microbatch, then by lane
  LaneShares shares_;
};

}  // namespace

LaneShares ShareOut(std::span<const LaneItem> items, int64_t num_lanes, int64_t num_microbatches,
                    LaneRoom room) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order,
                           [&](size_t a, size_t b) { return items[a].cost > items[b].cost; });
  std::vector<bool> kept(static_cast<size_t>(num_microbatches));
  while (true) {
    Sharing sharing(items, num_lanes, num_microbatches, room);
    const std::optional<int64_t> full = sharing.Run(order, kept);
    if (!full.has_value()) return std::move(sharing).Take();
    kept[static_cast<size_t>(*full)] = true;
  }
}

double MaxOverMean(std::span<const double> work) {
  const double sum = std::accumulate(work.begin(), work.end(), 0.0);
  if (sum == 0) return 1;
  return *std::ranges::max_element(work) * static_cast<double>(work.size()) / sum;
}

}  // namespace hetero::data
