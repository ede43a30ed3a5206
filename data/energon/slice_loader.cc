#include "hetero/data/energon/slice_loader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_format.h"

namespace hetero::data {

SliceLoader::SliceLoader(WorkerSlices slices, const SliceOrder& order, uint32_t seed,
                         SliceLoaderState state)
    : slices_(std::move(slices)),
      order_(order),
      random_(seed, state.num_draws),
      state_(std::move(state)),
      lengths_(order.num_open, 0.0f) {
  state_.open.resize(order.num_open);
  for (size_t slot = 0; slot < state_.open.size(); ++slot) {
    const auto [slice, next] = state_.open[slot];
    if (slice == OpenSlice::kNone) continue;
    Open(slot, slice);
    state_.open[slot].next = next;
  }
}

absl::Status SliceLoader::Check(const WorkerSlices& slices, const SliceOrder& order,
                                const SliceLoaderState& state) {
  const auto is_slice = [&](int64_t slice) { return slice >= 0 && slice < slices.num_slices(); };
  if (!std::all_of(state.pending.begin(), state.pending.end(), is_slice)) {
    return absl::DataLossError(
        absl::StrFormat("a pending slice is none of the %d", slices.num_slices()));
  }
  if (!state.open.empty() && std::ssize(state.open) != order.num_open) {
    return absl::DataLossError(
        absl::StrFormat("%d slices are open, not %d", state.open.size(), order.num_open));
  }
  for (const auto& [slice, next] : state.open) {
    if (slice == OpenSlice::kNone) continue;
    if (!is_slice(slice) || next < slices.borders[slice] || next >= slices.borders[slice + 1]) {
      return absl::DataLossError(absl::StrFormat("sample %d is not in slice %d", next, slice));
    }
  }
  return absl::OkStatus();
}

SliceLoaderState SliceLoader::state() const {
  SliceLoaderState state = state_;
  state.num_draws = random_.num_draws();
  return state;
}

void SliceLoader::Open(size_t slot, int64_t slice) {
  if (lengths_[slot] == 0) ++num_live_;
  state_.open[slot] = {.slice = slice, .next = slices_.borders[slice]};
  lengths_[slot] = static_cast<float>(slices_.borders[slice + 1] - slices_.borders[slice]);
}

void SliceLoader::BeginEpoch() {
  state_.is_in_epoch = true;
  const int64_t num_slices = slices_.num_slices();
  std::vector<int64_t>& pending = state_.pending;
  if (num_slices == 0) return;
  if (!order_.shuffle_over_epochs.has_value()) {
    pending.resize(num_slices);
    std::iota(pending.begin(), pending.end(), int64_t{0});
  } else if (*order_.shuffle_over_epochs == kWithReplacement) {
    pending.resize(order_.num_open);
    for (int64_t& slice : pending) slice = random_.Below(num_slices);
  } else {
    pending = random_.Permutation(num_slices * *order_.shuffle_over_epochs);
    for (int64_t& slice : pending) slice %= num_slices;
  }
  std::reverse(pending.begin(), pending.end());
  for (size_t slot = 0; slot < state_.open.size() && !pending.empty(); ++slot) {
    Open(slot, pending.back());
    pending.pop_back();
  }
}

std::optional<int64_t> SliceLoader::Next() {
  if (!state_.is_in_epoch) BeginEpoch();
  while (num_live_ > 0) {
    const size_t slot = order_.shuffle_over_epochs.has_value() ? random_.Choice(lengths_) : 0;
    OpenSlice& open = state_.open[slot];
    const int64_t sample = open.next++;
    if (open.next == slices_.borders[open.slice + 1]) {
      if (!state_.pending.empty()) {
        Open(slot, state_.pending.back());
        state_.pending.pop_back();
      } else if (order_.shuffle_over_epochs == kWithReplacement) {
        Open(slot, random_.Below(slices_.num_slices()));
      } else {
        open = OpenSlice();
        lengths_[slot] = 0;
        --num_live_;
      }
    }
    const bool is_excluded =
        std::binary_search(slices_.excluded.begin(), slices_.excluded.end(), sample);
    if (!is_excluded) return sample;
  }
  state_.is_in_epoch = false;
  return std::nullopt;
}

}  // namespace hetero::data
