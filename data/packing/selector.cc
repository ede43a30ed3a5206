#include "hetero/data/packing/selector.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/rounding.h"

namespace hetero::data {
namespace {

bool Fits(const PackItem& item, const PackLimits& left) {
  return item.length <= left.length && item.num_patches <= left.num_patches;
}

// With a limit for patches that is none.
PackLimits Bounded(const PackLimits& limits, std::span<const PackItem> items) {
  if (limits.num_patches > 0) return limits;
  PackLimits bounded = limits;
  for (const PackItem& item : items) bounded.num_patches += item.num_patches;
  return bounded;
}

void Take(const PackItem& item, PackLimits& left) {
  left.length -= item.length;
  left.num_patches -= item.num_patches;
}

std::vector<size_t> Places(size_t count) {
  std::vector<size_t> places(count);
  std::iota(places.begin(), places.end(), size_t{0});
  return places;
}

}  // namespace

absl::StatusOr<PackGroups> SelectGreedy(std::span<const PackItem> items, const PackLimits& limits) {
  const PackLimits row = Bounded(limits, items);
  for (size_t i = 0; i < items.size(); ++i) {
    if (Fits(items[i], row)) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "item %d has %d tokens and %d patches; a row holds %d tokens and %d patches", i,
        items[i].length, items[i].num_patches, row.length, row.num_patches));
  }
  const auto length_of = [&](size_t place) { return items[place].length; };
  std::vector<size_t> shortest_first = Places(items.size());
  std::ranges::stable_sort(shortest_first, {}, length_of);
  PackGroups groups;
  while (!shortest_first.empty()) {
    PackLimits left = row;
    std::vector<size_t>& group = groups.emplace_back();
    while (true) {
      auto end = std::ranges::upper_bound(shortest_first, left.length, {}, length_of);
      const auto found = std::find_if(std::make_reverse_iterator(end), shortest_first.rend(),
                                      [&](size_t place) { return Fits(items[place], left); });
      if (found == shortest_first.rend()) break;
      group.push_back(*found);
      Take(items[*found], left);
      shortest_first.erase(std::next(found).base());
    }
  }
  return groups;
}

PackGroups SelectBalanced(std::span<const PackItem> items, const PackLimits& limits,
                          int64_t extra_rows) {
  const PackLimits row = Bounded(limits, items);
  std::vector<size_t> longest_first = Places(items.size());
  std::ranges::stable_sort(longest_first, std::greater(),
                           [&](size_t place) { return items[place].length; });
  int64_t num_tokens = 0;
  for (const PackItem& item : items) num_tokens += item.length;
  const auto num_rows = static_cast<size_t>(CeilDiv(num_tokens, row.length) + extra_rows);
  PackGroups groups(num_rows);
  std::vector<PackLimits> left(num_rows, row);
  for (const size_t place : longest_first) {
    const PackItem& item = items[place];
    if (!Fits(item, row)) continue;
    size_t emptiest = groups.size();
    for (size_t i = 0; i < groups.size(); ++i) {
      if (!Fits(item, left[i])) continue;
      if (emptiest == groups.size() || left[i].length > left[emptiest].length) emptiest = i;
    }
    if (emptiest == groups.size()) {
      groups.emplace_back();
      left.push_back(row);
    }
    groups[emptiest].push_back(place);
    Take(item, left[emptiest]);
  }
  return groups;
}

}  // namespace hetero::data
