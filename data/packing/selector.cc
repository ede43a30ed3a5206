#include "hetero/data/packing/selector.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/rounding.h"

namespace hetero::data {
namespace {

// What a row has room for, where no limit means none.
struct Room {
  explicit Room(const PackLimits& limits)
      : length(limits.length),
        num_patches(Bound(limits.num_patches)),
        num_images(Bound(limits.num_images)) {}

  static int64_t Bound(int64_t limit) {
    return limit > 0 ? limit : std::numeric_limits<int64_t>::max();
  }

  bool Has(const PackItem& item) const {
    return item.length <= length && item.num_patches <= num_patches &&
           item.num_images <= num_images;
  }

  void Take(const PackItem& item) {
    length -= item.length;
    num_patches -= item.num_patches;
    num_images -= item.num_images;
  }

  int64_t length;
  int64_t num_patches;
  int64_t num_images;
};

std::vector<size_t> Places(size_t count) {
  std::vector<size_t> places(count);
  std::iota(places.begin(), places.end(), size_t{0});
  return places;
}

}  // namespace

bool Fits(const PackItem& item, const PackLimits& limits) { return Room(limits).Has(item); }

absl::StatusOr<PackGroups> SelectGreedy(std::span<const PackItem> items, const PackLimits& limits) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (Fits(items[i], limits)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("item %d has %d tokens, %d patches and %d images; a row holds %d, %d and "
                        "%d (0: any number)",
                        i, items[i].length, items[i].num_patches, items[i].num_images,
                        limits.length, limits.num_patches, limits.num_images));
  }
  const auto length_of = [&](size_t place) { return items[place].length; };
  std::vector<size_t> shortest_first = Places(items.size());
  std::ranges::stable_sort(shortest_first, {}, length_of);
  PackGroups groups;
  while (!shortest_first.empty()) {
    Room left(limits);
    std::vector<size_t>& group = groups.emplace_back();
    while (true) {
      auto end = std::ranges::upper_bound(shortest_first, left.length, {}, length_of);
      const auto found = std::find_if(std::make_reverse_iterator(end), shortest_first.rend(),
                                      [&](size_t place) { return left.Has(items[place]); });
      if (found == shortest_first.rend()) break;
      group.push_back(*found);
      left.Take(items[*found]);
      shortest_first.erase(std::next(found).base());
    }
  }
  return groups;
}

PackGroups SelectBalanced(std::span<const PackItem> items, const PackLimits& limits,
                          int64_t extra_rows) {
  std::vector<size_t> longest_first = Places(items.size());
  std::ranges::stable_sort(longest_first, std::greater(),
                           [&](size_t place) { return items[place].length; });
  int64_t num_tokens = 0;
  for (const PackItem& item : items) num_tokens += item.length;
  const auto num_rows = static_cast<size_t>(CeilDiv(num_tokens, limits.length) + extra_rows);
  PackGroups groups(num_rows);
  std::vector<Room> left(num_rows, Room(limits));
  for (const size_t place : longest_first) {
    const PackItem& item = items[place];
    if (!Fits(item, limits)) continue;
    size_t emptiest = groups.size();
    for (size_t i = 0; i < groups.size(); ++i) {
      if (!left[i].Has(item)) continue;
      if (emptiest == groups.size() || left[i].length > left[emptiest].length) emptiest = i;
    }
    if (emptiest == groups.size()) {
      groups.emplace_back();
      left.emplace_back(limits);
    }
    groups[emptiest].push_back(place);
    left[emptiest].Take(item);
  }
  return groups;
}

}  // namespace hetero::data
