#include "hetero/data/packing/packer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

// Selections without a group before the selector is at fault, as in Megatron-Energon.
constexpr int kMostEmptySelections = 100;

int64_t NumTokens(const PackedGroup& group) {
  int64_t num_tokens = 0;
  for (const PackedSample& sample : group) num_tokens += sample.item.length;
  return num_tokens;
}

}  // namespace

Packer::Packer(PackerOptions options, Source source, PackerState state)
    : options_(std::move(options)), source_(std::move(source)), state_(std::move(state)) {}

absl::Status Packer::Fill() {
  auto held = static_cast<int64_t>(state_.reading.size());
  for (const PackedGroup& group : state_.selected) held += static_cast<int64_t>(group.size());
  for (; held < options_.buffer_size && !at_end_; ++held) {
    HETERO_ASSIGN_OR_RETURN(const std::optional<PackItem> item, source_());
    if (!item.has_value()) {
      at_end_ = true;
      break;
    }
    state_.reading.push_back({.number = state_.num_samples++, .item = *item});
  }
  return absl::OkStatus();
}

absl::Status Packer::Select() {
  std::vector<PackItem> items;
  for (const PackedSample& sample : state_.reading) items.push_back(sample.item);
  HETERO_ASSIGN_OR_RETURN(const PackGroups groups, options_.select(items));
  std::vector<bool> is_selected(items.size(), false);
  std::vector<PackedGroup> selected;
  for (const std::vector<size_t>& places : groups) {
    if (places.empty()) continue;
    PackedGroup& group = selected.emplace_back();
    for (const size_t place : places) {
      if (place >= items.size() || is_selected[place]) {
        return absl::InternalError(absl::StrFormat(
            "the selector gives sample %d of %d twice, or it is none", place, items.size()));
      }
      is_selected[place] = true;
      group.push_back(state_.reading[place]);
    }
  }
  state_.num_lost += std::ranges::count(is_selected, false);
  state_.reading.clear();
  state_.selected = std::move(selected);
  return absl::OkStatus();
}

void Packer::PutBack() {
  const double least = options_.min_fill * static_cast<double>(options_.limits.length);
  const auto fullest = std::ranges::max_element(state_.selected, {}, NumTokens);
  std::vector<PackedGroup> kept;
  for (auto group = state_.selected.begin(); group != state_.selected.end(); ++group) {
    const bool is_kept = group == fullest || static_cast<double>(NumTokens(*group)) >= least ||
                         std::ranges::any_of(*group, [&](const PackedSample& sample) {
                           return sample.num_returns >= options_.max_returns;
                         });
    if (is_kept) {
      kept.push_back(std::move(*group));
      continue;
    }
    for (PackedSample& sample : *group) {
      ++sample.num_returns;
      state_.reading.push_back(sample);
    }
  }
  // Oldest first, as they came.
  std::ranges::sort(state_.reading, {}, &PackedSample::number);
  state_.selected = std::move(kept);
}

absl::StatusOr<std::optional<PackedGroup>> Packer::Next() {
  for (int num_empty = 0;;) {
    HETERO_RETURN_IF_ERROR(Fill());
    if (!state_.selected.empty()) break;
    if (state_.reading.empty()) return std::nullopt;
    HETERO_RETURN_IF_ERROR(Select());
    if (!at_end_ && !state_.selected.empty()) PutBack();
    if (!state_.selected.empty()) break;
    if (++num_empty > kMostEmptySelections) {
      return absl::FailedPreconditionError(
          absl::StrFormat("the selector gave no group %d times running, of %d samples each time",
                          num_empty, options_.buffer_size));
    }
  }
  PackedGroup group = std::move(state_.selected.front());
  state_.selected.erase(state_.selected.begin());
  ++state_.num_rows;
  state_.num_tokens += NumTokens(group);
  return group;
}

}  // namespace hetero::data
